----------------------------- MODULE Membership -----------------------------
(* Replacing a member of the group; see src/membership.rs, which has the same variables and actions. *)
EXTENDS Naturals, Sequences, FiniteSets

CONSTANTS Terms, Entries, Candidates, Frail, Wipes, Bug

VARIABLES role, term, given, log, committed, wiped, cast, led, chosen

vars == <<role, term, given, log, committed, wiped, cast, led, chosen>>

Node == 1..4
Term == 1..Terms
Old == {1, 2, 3}
New == {1, 2, 4}
Nobody == 0

Min(a, b) == IF a < b THEN a ELSE b
Common(a, b) == CHOOSE n \in 0..Min(Len(a), Len(b)) :
                  /\ \A i \in 1..n : a[i] = b[i]
                  /\ n < Min(Len(a), Len(b)) => a[n + 1] # b[n + 1]
LastTerm(entries) == IF entries = <<>> THEN 0 ELSE entries[Len(entries)].term
Has(entries, kind) == \E i \in 1..Len(entries) : entries[i].kind = kind
(* Configurations only go forward within a log. *)
Config(entries) == IF Has(entries, "final") THEN "final" ELSE IF Has(entries, "joint") THEN "joint" ELSE "old"
Voters(config) == IF config = "joint" THEN Old \union New ELSE IF config = "final" THEN New ELSE Old

Majority(nodes, of, also) == 2 * Cardinality(nodes \intersect (of \union also)) > Cardinality(of)
Quorum(nodes, config, also) ==
  CASE config = "joint" -> (Majority(nodes, Old, also) \/ Bug = "new_majority_only") /\ Majority(nodes, New, also)
    [] config = "final" -> Majority(nodes, New, also)
    [] OTHER -> Majority(nodes, Old, also)

Member(n) == ~wiped[n] \/ Bug = "wiped_votes"
MayStand(n) == <<2, 3, 1, 4>>[(term[n] % Candidates) + 1] = n

Init ==
  /\ role = [n \in Node |-> "follower"]
  /\ term = [n \in Node |-> 0]
  /\ given = [n \in Node |-> Nobody]
  /\ log = [n \in Node |-> <<>>]
  /\ committed = [n \in Node |-> 0]
  /\ wiped = [n \in Node |-> FALSE]
  /\ cast = [t \in Term |-> [n \in Node |-> {}]]
  /\ led = [t \in Term |-> {}]
  /\ chosen = <<>>

Vote(n, t, m, r) ==
  /\ role' = [role EXCEPT ![n] = r]
  /\ term' = [term EXCEPT ![n] = t]
  /\ given' = [given EXCEPT ![n] = m]

Timeout(n) ==
  /\ Member(n)
  /\ MayStand(n)
  /\ n \in Voters(Config(log[n]))
  /\ term[n] < Terms
  /\ role[n] # "leader"
  /\ Vote(n, term[n] + 1, n, "candidate")
  /\ cast' = [cast EXCEPT ![term[n] + 1][n] = @ \union {n}]
  /\ UNCHANGED <<log, committed, wiped, led, chosen>>

Grant(n, m) ==
  /\ n # m
  /\ Member(n) /\ Member(m)
  /\ role[m] = "candidate"
  /\ term[n] < term[m]
  /\ \/ LastTerm(log[m]) > LastTerm(log[n])
     \/ LastTerm(log[m]) = LastTerm(log[n]) /\ Len(log[m]) >= Len(log[n])
  /\ Vote(n, term[m], m, "follower")
  /\ cast' = [cast EXCEPT ![term[m]][m] = @ \union {n}]
  /\ UNCHANGED <<log, committed, wiped, led, chosen>>

Follow(n, m) ==
  /\ n # m
  /\ Member(n) /\ Member(m)
  /\ role[m] = "leader"
  /\ term[n] < term[m] \/ (term[n] = term[m] /\ given[n] # m)
  /\ Vote(n, term[m], m, "follower")
  /\ UNCHANGED <<log, committed, wiped, cast, led, chosen>>

Lead(n) ==
  /\ Member(n)
  /\ role[n] = "candidate"
  /\ Quorum(cast[term[n]][n], Config(log[n]), {})
  /\ role' = [role EXCEPT ![n] = "leader"]
  /\ led' = [led EXCEPT ![term[n]] = @ \union {n}]
  /\ UNCHANGED <<term, given, log, committed, wiped, cast, chosen>>

AppendKind(n, kind) ==
  /\ Member(n)
  /\ role[n] = "leader"
  /\ Len(log[n]) < Entries
  /\ log' = [log EXCEPT ![n] = Append(@, [term |-> term[n], kind |-> kind])]
  /\ UNCHANGED <<role, term, given, committed, wiped, cast, led, chosen>>

Propose(n) == AppendKind(n, "data")

Change(n) ==
  \/ Config(log[n]) = "old" /\ AppendKind(n, IF Bug = "one_step" THEN "final" ELSE "joint")
  \/ /\ Config(log[n]) = "joint"
     /\ Has(SubSeq(log[n], 1, committed[n]), "joint")
     /\ AppendKind(n, "final")

AppendEntry(n, m) ==
  /\ n # m
  /\ Member(n) /\ Member(m)
  /\ role[m] = "leader"
  /\ term[n] = term[m] /\ given[n] = m
  /\ LET keep == Common(log[n], log[m]) IN
       /\ keep < Len(log[m])
       /\ log' = [log EXCEPT ![n] = Append(SubSeq(@, 1, keep), log[m][keep + 1])]
  /\ UNCHANGED <<role, term, given, committed, wiped, cast, led, chosen>>

Holders(n, upto) ==
  {m \in Node : /\ m = n \/ (term[m] = term[n] /\ given[m] = n)
                /\ Member(m)
                /\ Common(log[m], log[n]) >= upto}

Commit(n, upto) ==
  /\ Member(n)
  /\ role[n] = "leader"
  /\ upto > committed[n]
  /\ log[n][upto].term = term[n]
  /\ Quorum(Holders(n, upto), Config(log[n]), IF Bug = "removed_leader_counts" THEN {n} ELSE {})
  /\ committed' = [committed EXCEPT ![n] = upto]
  /\ chosen' = IF upto > Len(chosen) THEN SubSeq(log[n], 1, upto) ELSE chosen
  /\ UNCHANGED <<role, term, given, log, wiped, cast, led>>

StepDown(n) ==
  /\ Member(n)
  /\ role[n] = "leader"
  /\ n \notin Voters(Config(log[n]))
  /\ Has(SubSeq(log[n], 1, committed[n]), "final")
  /\ role' = [role EXCEPT ![n] = "follower"]
  /\ UNCHANGED <<term, given, log, committed, wiped, cast, led, chosen>>

Wipe(n) ==
  /\ Cardinality({m \in Node : wiped[m]}) < Wipes
  /\ n <= Frail
  /\ Vote(n, 0, Nobody, "follower")
  /\ log' = [log EXCEPT ![n] = <<>>]
  /\ committed' = [committed EXCEPT ![n] = 0]
  /\ wiped' = [wiped EXCEPT ![n] = TRUE]
  /\ UNCHANGED <<cast, led, chosen>>

Next ==
  \E n \in Node :
    \/ Timeout(n) \/ Lead(n) \/ Propose(n) \/ Change(n) \/ StepDown(n) \/ Wipe(n)
    \/ \E upto \in 1..Len(log[n]) : Commit(n, upto)
    \/ \E m \in Node : Grant(n, m) \/ Follow(n, m) \/ AppendEntry(n, m)

Spec == Init /\ [][Next]_vars

----------------------------------------------------------------------------
I24OneLeaderInATerm == \A t \in Term : Cardinality(led[t]) <= 1

I2CommittedIsWhatWasCommitted == \A n \in Node : committed[n] <= Common(log[n], chosen)

I1NewestLeaderHasEverything ==
  \A n \in Node :
    (role[n] = "leader" /\ \A t \in Term : led[t] # {} => t <= term[n])
      => Common(log[n], chosen) = Len(chosen)
=============================================================================
