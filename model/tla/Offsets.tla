------------------------------- MODULE Offsets -------------------------------
(* Stored offsets of a group; see src/offsets.rs, which has the same variables and actions. *)
EXTENDS Naturals, Sequences

CONSTANTS Top, Terms, Room, Stale, Bug

VARIABLES leader, term, believes, claims, waiting, log, stored, query, last, promise, broken

vars == <<leader, term, believes, claims, waiting, log, stored, query, last, promise, broken>>

Both == {1, 2}
Shared == 3
NoClaim == [term |-> 0, channel |-> 0]
NoCommit == [offset |-> 0, allow |-> 0, by |-> 0]
Max(a, b) == IF a > b THEN a ELSE b

Serves(n) == n = leader /\ believes[n] = term
IsCalled(n) == believes[n] # 0 /\ (n = leader \/ Stale)

Init ==
    /\ leader = 1
    /\ term = 1
    /\ believes = <<1, 0>>
    /\ claims = <<NoClaim, NoClaim>>
    /\ waiting = <<NoCommit, NoCommit>>
    /\ log = <<>>
    /\ stored = 0
    /\ query = <<0, 0>>
    /\ last = 0
    /\ promise = 0
    /\ broken = FALSE

Claim(c, n, channel) ==
    /\ claims' = [claims EXCEPT ![n] = [term |-> believes[n], channel |-> channel]]
    /\ IF Serves(n)
       THEN /\ last' = c
            /\ promise' = IF promise = c THEN c ELSE 0
       ELSE UNCHANGED <<last, promise>>

Query(c, n, shared) ==
    /\ IsCalled(n)
    /\ query[c] = 0
    /\ Claim(c, n, IF shared THEN Shared ELSE c)
    /\ query' = [query EXCEPT ![c] = n]
    /\ UNCHANGED <<leader, term, believes, waiting, log, stored, broken>>

Pull(c, n) ==
    /\ IsCalled(n)
    /\ Claim(c, n, c)
    /\ UNCHANGED <<leader, term, believes, waiting, log, stored, query, broken>>

OfOthers(c, one) == one.allow = term /\ one.by # c /\ one.by # 0

OthersProposed(c, entries) == \E i \in 1..Len(entries) : OfOthers(c, entries[i])

Unsettled(c, n) == OfOthers(c, waiting[n]) \/ (Bug # "in_flight" /\ OthersProposed(c, log))

Answer(c) ==
    /\ query[c] # 0
    /\ Serves(query[c])
    /\ ~Unsettled(c, query[c])
    /\ query' = [query EXCEPT ![c] = 0]
    /\ promise' = IF last = c THEN c ELSE promise
    /\ UNCHANGED <<leader, term, believes, claims, waiting, log, stored, last, broken>>

QueryFails(c) ==
    /\ query[c] # 0
    /\ ~Serves(query[c])
    /\ query' = [query EXCEPT ![c] = 0]
    /\ UNCHANGED <<leader, term, believes, claims, waiting, log, stored, last, promise, broken>>

Holds(c, n, shared) ==
    /\ claims[n].channel = (IF shared THEN Shared ELSE c)
    /\ claims[n].term = believes[n] \/ Bug = "stale_claims"

Allowed(c, n, shared) ==
    \/ Holds(c, n, shared) /\ (~shared \/ Bug = "forwarded")
    \/ Bug = "late_commit"

Commit(c, n, offset, shared) ==
    /\ IsCalled(n)
    /\ waiting' = [waiting EXCEPT ![n] =
           IF Allowed(c, n, shared)
           THEN [offset |-> offset, allow |-> believes[n], by |-> c]
           ELSE [@ EXCEPT !.offset = Max(@, offset)]]
    /\ UNCHANGED <<leader, term, believes, claims, log, stored, query, last, promise, broken>>

IsReset(entry) == entry.by = 0 /\ entry.allow # 0

Propose(n) ==
    /\ waiting[n].offset # 0
    /\ Serves(n) => Len(log) < Room /\ \A i \in 1..Len(log) : IsReset(log[i])
    /\ waiting' = [waiting EXCEPT ![n] = NoCommit]
    /\ log' = IF Serves(n)
              THEN Append(log, [offset |-> waiting[n].offset, allow |-> waiting[n].allow, by |-> waiting[n].by,
                                term |-> term])
              ELSE log
    /\ UNCHANGED <<leader, term, believes, claims, stored, query, last, promise, broken>>

MayLower(entry) == entry.allow = entry.term \/ (Bug = "any_term" /\ entry.allow # 0)

Apply ==
    /\ log # <<>>
    /\ LET entry == Head(log)
           after == IF entry.offset > stored \/ MayLower(entry) THEN entry.offset ELSE stored
       IN /\ stored' = after
          /\ broken' = (broken \/ (after < stored /\ entry.by # 0 /\ promise # 0 /\ promise # entry.by))
          /\ promise' = IF /\ entry.by # 0
                            /\ entry.by = last
                            /\ ~OfOthers(entry.by, waiting[leader])
                            /\ ~OthersProposed(entry.by, Tail(log))
                         THEN entry.by
                         ELSE promise
    /\ log' = Tail(log)
    /\ UNCHANGED <<leader, term, believes, claims, waiting, query, last>>

Reset(offset) ==
    /\ Serves(leader)
    /\ Len(log) < Room
    /\ log' = Append(log, [offset |-> offset, allow |-> term, by |-> 0, term |-> term])
    /\ UNCHANGED <<leader, term, believes, claims, waiting, stored, query, last, promise, broken>>

Failover(kept) ==
    /\ term < Terms
    /\ leader' = 3 - leader
    /\ term' = term + 1
    /\ believes' = [believes EXCEPT ![3 - leader] = 0]
    /\ log' = SubSeq(log, 1, kept)
    /\ UNCHANGED <<claims, waiting, stored, query, last, promise, broken>>

Start ==
    /\ believes[leader] # term
    /\ log = <<>>
    /\ believes' = [believes EXCEPT ![leader] = term]
    /\ UNCHANGED <<leader, term, claims, waiting, log, stored, query, last, promise, broken>>

Notice(n) ==
    /\ n # leader
    /\ believes[n] # 0
    /\ believes' = [believes EXCEPT ![n] = 0]
    /\ claims' = [claims EXCEPT ![n] = NoClaim]
    /\ UNCHANGED <<leader, term, waiting, log, stored, query, last, promise, broken>>

Next ==
    \/ \E c \in Both, n \in Both, shared \in BOOLEAN : Query(c, n, shared)
    \/ \E c \in Both, n \in Both : Pull(c, n)
    \/ \E c \in Both : Answer(c)
    \/ \E c \in Both : QueryFails(c)
    \/ \E c \in Both, n \in Both, offset \in 1..Top, shared \in BOOLEAN : Commit(c, n, offset, shared)
    \/ \E n \in Both : Propose(n)
    \/ Apply
    \/ \E offset \in 1..Top : Reset(offset)
    \/ \E kept \in 0..Len(log) : Failover(kept)
    \/ Start
    \/ \E n \in Both : Notice(n)

I11LoweredByItsOwnerOnly == ~broken
==============================================================================
