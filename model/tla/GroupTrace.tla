----------------------------- MODULE GroupTrace -----------------------------
(* Whether a trace of a replica group is a behaviour of its specification: the rules of src/trace/acceptor.rs, stated again for
   TLC, without purges and snapshots. The generator puts the trace in the place of the sequence below. An event is a record: node
   n, kind k, numbers a to g in the order of the event's fields, and v, the voters of a membership. Positions in logs count
   from 1 here. TLC is to find the invariant violated: then the whole trace was a behaviour. If it finds no error, the number of
   states says at which event the trace got stuck. *)
EXTENDS Naturals, Sequences, FiniteSets

Trace == <<>>

VARIABLES i, node, chosen, granted, stood, leaders, made

vars == <<i, node, chosen, granted, stood, leaders, made>>

Node == {Trace[k].n : k \in 1..Len(Trace)}
None == [term |-> 0, given |-> 0, led |-> 0]
Fresh == [phase |-> "down", id |-> 0, vote |-> None, saved |-> None, saving |-> FALSE, log |-> <<>>, synced |-> 0,
          durable |-> 0, submitted |-> <<>>, open |-> FALSE, before |-> <<>>, cutting |-> FALSE, committed |-> 0,
          applied |-> 0, answered |-> 0, elected |-> 0, serving |-> 0, starts |-> <<>>, announced |-> {}, members |-> {}]

Min(a, b) == IF a < b THEN a ELSE b
Max(a, b) == IF a > b THEN a ELSE b
Prefix(s, n) == SubSeq(s, 1, n)
TermAt(s, n) == IF n = 0 THEN 0 ELSE s[n].term
LastTerm(s) == TermAt(s, Len(s))

Init ==
  /\ i = 1
  /\ node = [n \in Node |-> Fresh]
  /\ chosen = <<>>
  /\ granted = {} /\ stood = {} /\ leaders = {} /\ made = {}

(* The membership that counts for a node is the last in its log. *)
Voters(s) == IF s.members = {} THEN {{}}
             ELSE (CHOOSE m \in s.members : \A o \in s.members : o[1] <= m[1])[2]
Majority(ids, config) == 2 * Cardinality(ids \intersect config) > Cardinality(config)
Quorum(s, ids) == \A config \in Voters(s) : Majority(ids, config)
Holds(s, index, term) == index < s.durable /\ s.log[index + 1].term = term
Holders(index, term) == {node[m].id : m \in {m \in Node : Holds(node[m], index, term)}}
Leads(s) == s.vote.led = 1 /\ s.vote.given = s.id /\ s.elected = s.vote.term

Ballot(e) == [term |-> e.a, given |-> e.b, led |-> e.c]
Exceeds(a, b) == a.term > b.term \/ (a.term = b.term /\ a.led = 1 /\ b.led = 0)

Becomes(e, s) == node' = [node EXCEPT ![e.n] = s]
Globals == <<chosen, granted, stood, leaders, made>>

Start(e, s) == Becomes(e, [s EXCEPT !.phase = "starting"]) /\ UNCHANGED Globals
Crash(e, s) == Becomes(e, [s EXCEPT !.phase = "down"]) /\ UNCHANGED Globals
RecoveredTerm(e, s) == Becomes(e, [s EXCEPT !.starts = Append(@, <<e.a, e.b>>)]) /\ UNCHANGED Globals

RECURSIVE StartsOf(_, _)
StartsOf(s, n) ==
  IF n = 0 THEN <<>>
  ELSE IF n = 1 \/ s[n].term # s[n - 1].term THEN Append(StartsOf(s, n - 1), <<n - 1, s[n].term>>)
  ELSE StartsOf(s, n - 1)

Recovered(e, s) ==
  LET vote == [term |-> e.e, given |-> e.f, led |-> e.g]
      Fits(log, synced) == synced <= e.c /\ e.c <= Len(log) /\ StartsOf(log, e.c) = s.starts
      log == IF Fits(s.log, s.synced) THEN s.log ELSE s.before
  IN /\ e.a = 0
     /\ vote = s.saved \/ (s.saving /\ vote = s.vote)
     /\ Fits(s.log, s.synced) \/ (s.cutting /\ Fits(s.before, s.synced))
     /\ e.d <= e.c /\ e.d <= Len(chosen)
     /\ Becomes(e, [s EXCEPT !.phase = "open", !.vote = vote, !.saved = vote, !.saving = FALSE, !.log = Prefix(log, e.c),
                             !.synced = e.c, !.durable = e.c, !.submitted = <<>>, !.open = FALSE, !.before = <<>>,
                             !.cutting = FALSE, !.committed = e.d, !.answered = 0, !.elected = 0, !.serving = 0, !.starts = <<>>,
                             !.announced = {}, !.members = {m \in s.members : m[1] < e.c}])
     /\ UNCHANGED Globals

Started(e, s) ==
  /\ s.phase = "open"
  /\ s.id \in {0, e.a}
  /\ \A m \in Node \ {e.n} : node[m].id # e.a
  /\ e.b <= s.applied /\ e.b <= Len(s.log)
  /\ e.b > 0 => chosen[e.b].term = e.c
  /\ Becomes(e, [s EXCEPT !.phase = "running", !.id = e.a, !.applied = e.b, !.committed = Max(@, e.b)])
  /\ UNCHANGED Globals

Vote(e, s) ==
  LET vote == Ballot(e) IN
  /\ s.phase = "running" /\ ~s.saving
  /\ Exceeds(vote, s.vote)
  /\ CASE vote.led = 1 /\ vote.given = s.id ->
            /\ Quorum(s, {g[3] : g \in {g \in granted : g[1] = vote.term /\ g[2] = s.id}})
            /\ \A k \in 1..Len(chosen) : chosen[k].by <= vote.term =>
                 k <= Len(s.log) /\ s.log[k].term = chosen[k].term
       [] vote.led = 1 /\ vote.given # s.id -> <<vote.term, vote.given>> \in leaders
       [] vote.led = 0 /\ vote.given = s.id -> vote.term = s.vote.term + 1
       [] OTHER -> \E c \in stood : c[1] = vote.term /\ c[2] = vote.given
  /\ Becomes(e, [s EXCEPT !.vote = vote, !.saving = TRUE,
                          !.elected = IF vote.led = 1 /\ vote.given = s.id THEN vote.term ELSE @])
  /\ stood' = IF vote.led = 0 /\ vote.given = s.id
              THEN stood \union {<<vote.term, vote.given, LastTerm(s.log), Len(s.log)>>} ELSE stood
  /\ UNCHANGED <<chosen, granted, leaders, made>>

VoteSaved(e, s) ==
  LET vote == Ballot(e)
      NotOlder(c) == c[3] > LastTerm(s.log) \/ (c[3] = LastTerm(s.log) /\ c[4] >= Len(s.log))
      agrees == vote.led = 0 /\ \E c \in stood : c[1] = vote.term /\ c[2] = vote.given /\ NotOlder(c)
  IN /\ s.phase = "running" /\ s.saving /\ vote = s.vote
     /\ Becomes(e, [s EXCEPT !.saving = FALSE, !.saved = vote])
     /\ granted' = IF agrees THEN granted \union {<<vote.term, vote.given, s.id>>} ELSE granted
     /\ IF vote.led = 1 /\ vote.given = s.id
        THEN /\ \A l \in leaders : l[1] = vote.term => l[2] = s.id
             /\ leaders' = leaders \union {<<vote.term, s.id>>}
        ELSE UNCHANGED leaders
     /\ UNCHANGED <<chosen, stood, made>>

Membership(e, s) ==
  /\ s.phase = "running" /\ e.a >= Len(s.log) /\ \A m \in s.announced : m[1] # e.a
  /\ Becomes(e, [s EXCEPT !.announced = @ \union {<<e.a, e.v>>}])
  /\ UNCHANGED Globals

AppendEntry(e, s) ==
  LET told == {m \in s.announced : m[1] = e.a}
      known == {m \in made : m[1] = e.b /\ m[2] = e.a}
      this == <<e.b, e.a, e.c, LastTerm(s.log), told>>
  IN /\ s.phase = "running" /\ ~s.saving /\ ~s.cutting
     /\ e.a = Len(s.log)
     /\ LastTerm(s.log) <= e.b /\ e.b <= s.vote.term
     /\ IF known = {}
        THEN (Leads(s) /\ e.b = s.vote.term) \/ (e.a = 0 /\ told # {})
        ELSE known = {this} /\ (s.vote.led = 1 \/ e.a = 0)
     /\ made' = made \union {this}
     /\ Becomes(e, [s EXCEPT !.log = Append(@, [term |-> e.b, sum |-> e.c]), !.open = TRUE,
                             !.announced = @ \ told, !.members = @ \union told])
     /\ UNCHANGED <<chosen, granted, stood, leaders>>

Submit(e, s) ==
  /\ s.phase = "running" /\ s.open /\ e.a + 1 = Len(s.log) /\ LastTerm(s.log) = e.b
  /\ Becomes(e, [s EXCEPT !.open = FALSE, !.submitted = Append(@, <<e.a, e.b>>)])
  /\ UNCHANGED Globals

Synced(e, s) ==
  /\ s.synced < e.a /\ e.a <= Len(s.log) /\ ~s.open
  /\ Becomes(e, [s EXCEPT !.synced = e.a]) /\ UNCHANGED Globals

Durable(e, s) ==
  /\ s.durable < e.a /\ e.a = s.synced
  /\ Becomes(e, [s EXCEPT !.durable = e.a]) /\ UNCHANGED Globals

Ack(e, s) ==
  /\ s.submitted # <<>> /\ Head(s.submitted) = <<e.a, e.b>>
  /\ Holds(s, e.a, e.b) \/ s.cutting
  /\ Becomes(e, [s EXCEPT !.submitted = Tail(@)]) /\ UNCHANGED Globals

Truncate(e, s) ==
  /\ e.a < Len(s.log) /\ e.a >= s.committed /\ ~s.cutting /\ ~s.open
  /\ s.vote.led = 1 /\ ~Leads(s)
  /\ \A k \in (e.a + 1)..Min(Len(s.log), Len(chosen)) :
       ~(s.log[k].term = chosen[k].term /\ s.log[k].sum = chosen[k].sum)
  /\ Becomes(e, [s EXCEPT !.before = s.log, !.cutting = TRUE, !.log = Prefix(@, e.a), !.synced = Min(@, e.a),
                          !.durable = Min(@, e.a), !.members = {m \in @ : m[1] < e.a}])
  /\ UNCHANGED Globals

Truncated(e, s) ==
  /\ s.cutting /\ e.a = Len(s.log)
  /\ Becomes(e, [s EXCEPT !.cutting = FALSE, !.before = <<>>]) /\ UNCHANGED Globals

Commit(e, s) ==
  /\ s.phase = "running"
  /\ e.a + 1 > s.committed /\ e.a + 1 <= Len(s.log) /\ s.log[e.a + 1].term = e.b
  /\ IF e.a < Len(chosen)
     THEN chosen[e.a + 1].term = e.b /\ UNCHANGED chosen
     ELSE /\ s.vote.led = 1 /\ e.b = s.vote.term
          /\ Quorum(s, Holders(e.a, e.b))
          /\ chosen' = [k \in 1..(e.a + 1) |->
                          IF k <= Len(chosen) THEN chosen[k]
                          ELSE [term |-> s.log[k].term, sum |-> s.log[k].sum, by |-> s.vote.term]]
  /\ Becomes(e, [s EXCEPT !.committed = e.a + 1])
  /\ UNCHANGED <<granted, stood, leaders, made>>

Apply(e, s) ==
  /\ s.phase = "running"
  /\ e.a = s.applied /\ e.a < s.committed /\ e.a < s.durable
  /\ s.log[e.a + 1].term = e.b /\ s.log[e.a + 1].sum = e.c
  /\ chosen[e.a + 1].term = e.b /\ chosen[e.a + 1].sum = e.c
  /\ Becomes(e, [s EXCEPT !.applied = @ + 1]) /\ UNCHANGED Globals

Answer(e, s) ==
  /\ s.phase = "running"
  /\ e.a + 1 = s.applied /\ e.a + 1 > s.answered /\ s.log[e.a + 1].term = e.b
  /\ Quorum(s, Holders(e.a, e.b))
  /\ Becomes(e, [s EXCEPT !.answered = e.a + 1]) /\ UNCHANGED Globals

BecameLeader(e, s) ==
  /\ s.phase = "running" /\ s.elected = e.a /\ s.serving < e.a
  /\ TermAt(s.log, s.applied) >= e.a
  /\ Becomes(e, [s EXCEPT !.serving = e.a]) /\ UNCHANGED Globals

(* A purge takes nothing that is needed, so here it takes nothing. *)
Purge(e, s) == e.a <= Min(s.applied, s.durable) /\ UNCHANGED node /\ UNCHANGED Globals

Step(e) ==
  LET s == node[e.n] IN
  CASE e.k = "start" -> Start(e, s)
    [] e.k = "crash" -> Crash(e, s)
    [] e.k = "recovered_term" -> RecoveredTerm(e, s)
    [] e.k = "recovered" -> Recovered(e, s)
    [] e.k = "started" -> Started(e, s)
    [] e.k = "vote" -> Vote(e, s)
    [] e.k = "vote_saved" -> VoteSaved(e, s)
    [] e.k = "membership" -> Membership(e, s)
    [] e.k = "append" -> AppendEntry(e, s)
    [] e.k = "submit" -> Submit(e, s)
    [] e.k = "synced" -> Synced(e, s)
    [] e.k = "durable" -> Durable(e, s)
    [] e.k = "ack" -> Ack(e, s)
    [] e.k = "truncate" -> Truncate(e, s)
    [] e.k = "truncated" -> Truncated(e, s)
    [] e.k = "purge" -> Purge(e, s)
    [] e.k = "purged" -> Purge(e, s)
    [] e.k = "commit" -> Commit(e, s)
    [] e.k = "apply" -> Apply(e, s)
    [] e.k = "answer" -> Answer(e, s)
    [] e.k = "became_leader" -> BecameLeader(e, s)
    [] OTHER -> FALSE

Next == i <= Len(Trace) /\ Step(Trace[i]) /\ i' = i + 1

NotAccepted == i <= Len(Trace)
=============================================================================
