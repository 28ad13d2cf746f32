------------------------------ MODULE LogStore ------------------------------
(* Raft over a log that can lose what was not synced; see src/log_store.rs, which has the same variables and actions. *)
EXTENDS Naturals, Sequences, FiniteSets

CONSTANTS Terms, Entries, Candidates, Frail, Crashes, Bug

VARIABLES role, vote, kept, log, durable, committed, applied, life, cast, led, acked, chosen

vars == <<role, vote, kept, log, durable, committed, applied, life, cast, led, acked, chosen>>

Node == 1..3
Term == 1..Terms
Nobody == [term |-> 0, given |-> 0]
IsQuorum(nodes) == Cardinality(nodes) >= 2

Min(a, b) == IF a < b THEN a ELSE b
Common(a, b) == CHOOSE n \in 0..Min(Len(a), Len(b)) :
                  /\ \A i \in 1..n : a[i] = b[i]
                  /\ n < Min(Len(a), Len(b)) => a[n + 1] # b[n + 1]
LastTerm(entries) == IF entries = <<>> THEN 0 ELSE entries[Len(entries)].term

Init ==
  /\ role = [n \in Node |-> "follower"]
  /\ vote = [n \in Node |-> Nobody]
  /\ kept = [n \in Node |-> Nobody]
  /\ log = [n \in Node |-> <<>>]
  /\ durable = [n \in Node |-> 0]
  /\ committed = [n \in Node |-> 0]
  /\ applied = [n \in Node |-> 0]
  /\ life = [n \in Node |-> 0]
  /\ cast = [t \in Term |-> [n \in Node |-> {}]]
  /\ led = [t \in Term |-> {}]
  /\ acked = [t \in Term |-> [n \in Node |-> 0]]
  /\ chosen = <<>>

(* A vote is durable before anything else happens, and with it what was queued before. *)
SaveVote(n, v, r) ==
  /\ vote' = [vote EXCEPT ![n] = v]
  /\ role' = [role EXCEPT ![n] = r]
  /\ IF Bug = "vote_unsynced"
     THEN UNCHANGED <<kept, durable>>
     ELSE /\ kept' = [kept EXCEPT ![n] = v]
          /\ durable' = [durable EXCEPT ![n] = Len(log[n])]

Timeout(n) ==
  /\ n <= Candidates
  /\ vote[n].term < Terms
  /\ role[n] # "leader"
  /\ LET t == vote[n].term + 1 IN
       /\ SaveVote(n, [term |-> t, given |-> n], "candidate")
       /\ cast' = [cast EXCEPT ![t][n] = @ \union {n}]
  /\ UNCHANGED <<log, committed, applied, life, led, acked, chosen>>

Grant(n, m) ==
  /\ n # m
  /\ role[m] = "candidate"
  /\ vote[n].term < vote[m].term \/ vote[n] = vote[m]
  /\ n \notin cast[vote[m].term][m]
  /\ \/ LastTerm(log[m]) > LastTerm(log[n])
     \/ LastTerm(log[m]) = LastTerm(log[n]) /\ Len(log[m]) >= Len(log[n])
  /\ SaveVote(n, vote[m], "follower")
  /\ cast' = [cast EXCEPT ![vote[m].term][m] = @ \union {n}]
  /\ UNCHANGED <<log, committed, applied, life, led, acked, chosen>>

Observe(n, m) ==
  /\ n # m
  /\ \/ vote[m].term > vote[n].term
     \/ vote[m].term = vote[n].term /\ role[m] = "leader" /\ vote[n] # vote[m]
  /\ SaveVote(n, vote[m], "follower")
  /\ UNCHANGED <<log, committed, applied, life, cast, led, acked, chosen>>

Lead(n) ==
  /\ role[n] = "candidate"
  /\ IsQuorum(cast[vote[n].term][n])
  /\ role' = [role EXCEPT ![n] = "leader"]
  /\ led' = [led EXCEPT ![vote[n].term] = @ \union {n}]
  /\ UNCHANGED <<vote, kept, log, durable, committed, applied, life, cast, acked, chosen>>

Propose(n) ==
  /\ role[n] = "leader"
  /\ Len(log[n]) < Entries
  /\ log' = [log EXCEPT ![n] = Append(@, [term |-> vote[n].term, life |-> life[n]])]
  /\ UNCHANGED <<role, vote, kept, durable, committed, applied, life, cast, led, acked, chosen>>

Follows(n, m) == n # m /\ role[m] = "leader" /\ vote[n] = [term |-> vote[m].term, given |-> m]

Truncate(n, m) ==
  /\ Follows(n, m)
  /\ LET keep == Common(log[n], log[m]) IN
       /\ keep < Min(Len(log[n]), Len(log[m]))
       /\ log' = [log EXCEPT ![n] = SubSeq(@, 1, keep)]
       /\ durable' = [durable EXCEPT ![n] = keep]
  /\ UNCHANGED <<role, vote, kept, committed, applied, life, cast, led, acked, chosen>>

AppendEntry(n, m) ==
  /\ Follows(n, m)
  /\ Common(log[n], log[m]) = Len(log[n])
  /\ Len(log[n]) < Len(log[m])
  /\ log' = [log EXCEPT ![n] = Append(@, log[m][Len(@) + 1])]
  /\ UNCHANGED <<role, vote, kept, durable, committed, applied, life, cast, led, acked, chosen>>

Sync(n) ==
  /\ durable[n] < Len(log[n]) \/ kept[n] # vote[n]
  /\ durable' = [durable EXCEPT ![n] = Len(log[n])]
  /\ kept' = [kept EXCEPT ![n] = vote[n]]
  /\ UNCHANGED <<role, vote, log, committed, applied, life, cast, led, acked, chosen>>

Ack(n) ==
  /\ vote[n].given # 0
  /\ LET m == vote[n].given
         t == vote[n].term
         unsynced == \/ Bug = "ack_unsynced" /\ m # n
                     \/ Bug = "leader_counts_unsynced" /\ m = n
         safe == IF unsynced THEN Len(log[n]) ELSE durable[n]
         upto == Common(SubSeq(log[n], 1, safe), log[m])
     IN /\ role[m] = "leader"
        /\ m = n \/ Follows(n, m)
        /\ upto > acked[t][n]
        /\ acked' = [acked EXCEPT ![t][n] = upto]
  /\ UNCHANGED <<role, vote, kept, log, durable, committed, applied, life, cast, led, chosen>>

Commit(n, upto) ==
  /\ role[n] = "leader"
  /\ upto > committed[n]
  /\ log[n][upto].term = vote[n].term \/ Bug = "older_term"
  /\ IsQuorum({m \in Node : acked[vote[n].term][m] >= upto})
  /\ committed' = [committed EXCEPT ![n] = upto]
  /\ chosen' = IF upto > Len(chosen) THEN SubSeq(log[n], 1, upto) ELSE chosen
  /\ UNCHANGED <<role, vote, kept, log, durable, applied, life, cast, led, acked>>

Learn(n, m) ==
  /\ Follows(n, m)
  /\ LET upto == Min(committed[m], Common(log[n], log[m])) IN
       /\ upto > committed[n]
       /\ committed' = [committed EXCEPT ![n] = upto]
  /\ UNCHANGED <<role, vote, kept, log, durable, applied, life, cast, led, acked, chosen>>

Apply(n) ==
  /\ applied[n] < committed[n]
  /\ applied[n] < durable[n] \/ Bug = "gate_open"
  /\ applied' = [applied EXCEPT ![n] = @ + 1]
  /\ UNCHANGED <<role, vote, kept, log, durable, committed, life, cast, led, acked, chosen>>

Crash(n, left) ==
  /\ n <= Frail
  /\ life[1] + life[2] + life[3] < Crashes
  /\ log' = [log EXCEPT ![n] = SubSeq(@, 1, left)]
  /\ durable' = [durable EXCEPT ![n] = left]
  /\ role' = [role EXCEPT ![n] = IF Bug = "leader_restored" /\ @ = "leader" THEN @ ELSE "follower"]
  /\ vote' = [vote EXCEPT ![n] = kept[n]]
  /\ committed' = [committed EXCEPT ![n] = 0]
  /\ applied' = [applied EXCEPT ![n] = 0]
  /\ life' = [life EXCEPT ![n] = @ + 1]
  /\ UNCHANGED <<kept, cast, led, acked, chosen>>

Next ==
  \E n \in Node :
    \/ Timeout(n) \/ Lead(n) \/ Propose(n) \/ Sync(n) \/ Ack(n) \/ Apply(n)
    \/ \E upto \in 1..Len(log[n]) : Commit(n, upto)
    \/ \E left \in durable[n]..Len(log[n]) : Crash(n, left)
    \/ \E m \in Node : Grant(n, m) \/ Observe(n, m) \/ Truncate(n, m) \/ AppendEntry(n, m) \/ Learn(n, m)

Spec == Init /\ [][Next]_vars

----------------------------------------------------------------------------
I24OneLeaderInATerm == \A t \in Term : Cardinality(led[t]) <= 1

I25AppliedIsDurableHere == \A n \in Node : applied[n] <= durable[n]

I2CommittedIsWhatWasCommitted ==
  \A n \in Node : applied[n] <= committed[n] /\ committed[n] <= Common(log[n], chosen)

I1NewestLeaderHasEverything ==
  \A n \in Node :
    (role[n] = "leader" /\ \A t \in Term : led[t] # {} => t <= vote[n].term)
      => Common(log[n], chosen) = Len(chosen)

I26TermsDoNotFall ==
  \A n \in Node :
    /\ LastTerm(log[n]) <= vote[n].term
    /\ \A i \in 1..(Len(log[n]) - 1) : log[n][i].term <= log[n][i + 1].term

I26LogsMatch ==
  \A n, m \in Node : \A i \in 1..Min(Len(log[n]), Len(log[m])) :
    log[n][i].term = log[m][i].term => Common(log[n], log[m]) >= i

I28CommittedIsDurableOnAMajority ==
  \A i \in 1..Len(chosen) : IsQuorum({n \in Node : durable[n] >= i /\ log[n][i] = chosen[i]})
=============================================================================
