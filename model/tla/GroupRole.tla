------------------------------ MODULE GroupRole ------------------------------
(* Who the NameServers say leads; see src/group_role.rs, which has the same variables and actions. *)
EXTENDS Naturals, FiniteSets

CONSTANTS Brokers, Servers, Terms, Messages, Bug

VARIABLES term, leading, says, version, leader, followers, highest, stood, leads, net

vars == <<term, leading, says, version, leader, followers, highest, stood, leads, net>>

Broker == 1..Brokers
Server == 1..Servers
Term == 1..Terms
Nobody == 0

Max(a, b) == IF a > b THEN a ELSE b
Top == Cardinality({t \in Term : stood[t] # Nobody})

Init ==
  /\ term = [b \in Broker |-> 0]
  /\ leading = [b \in Broker |-> FALSE]
  /\ says = [b \in Broker |-> FALSE]
  /\ version = [s \in Server |-> 0]
  /\ leader = [s \in Server |-> Nobody]
  /\ followers = [s \in Server |-> {}]
  /\ highest = [s \in Server |-> 0]
  /\ stood = [t \in Term |-> Nobody]
  /\ leads = [t \in Term |-> Nobody]
  /\ net = {}

Campaign(b) ==
  /\ Top < Terms
  /\ ~leading[b]
  /\ stood' = [stood EXCEPT ![Top + 1] = b]
  /\ term' = [term EXCEPT ![b] = Top + 1]
  /\ UNCHANGED <<leading, says, version, leader, followers, highest, leads, net>>

Elect(b) ==
  /\ term[b] > 0
  /\ stood[term[b]] = b
  /\ leads[term[b]] = Nobody
  /\ leads' = [leads EXCEPT ![term[b]] = b]
  /\ leading' = [leading EXCEPT ![b] = TRUE]
  /\ UNCHANGED <<term, says, version, leader, followers, highest, stood, net>>

Learn(b, c) ==
  /\ term[c] > term[b]
  /\ term' = [term EXCEPT ![b] = term[c]]
  /\ leading' = [leading EXCEPT ![b] = FALSE]
  /\ UNCHANGED <<says, version, leader, followers, highest, stood, leads, net>>

Look(b) ==
  /\ Bug = "torn_role"
  /\ says[b] # leading[b]
  /\ says' = [says EXCEPT ![b] = leading[b]]
  /\ UNCHANGED <<term, leading, version, leader, followers, highest, stood, leads, net>>

Message(b, s) ==
  [from |-> b, to |-> s, leads |-> IF Bug = "torn_role" THEN says[b] ELSE leading[b], term |-> term[b]]

Register(b, s) ==
  /\ Cardinality(net) < Messages
  /\ Message(b, s) \notin net
  /\ net' = net \union {Message(b, s)}
  /\ UNCHANGED <<term, leading, says, version, leader, followers, highest, stood, leads>>

Fenced(s, m) ==
  \/ m.term < version[s]
  \/ m.term = version[s] /\ m.term > 0 /\ leader[s] \notin {Nobody, m.from}

Deliver(m) ==
  /\ net' = net \ {m}
  /\ LET s == m.to IN
       IF m.leads
       THEN IF Fenced(s, m) /\ Bug # "no_fence"
            THEN UNCHANGED <<version, leader, followers, highest>>
            ELSE /\ version' = [version EXCEPT ![s] = Max(@, m.term)]
                 /\ highest' = [highest EXCEPT ![s] = Max(@, m.term)]
                 /\ leader' = [leader EXCEPT ![s] = m.from]
                 /\ followers' = [followers EXCEPT ![s] = IF Bug = "keeps_old_id" THEN @ ELSE @ \ {m.from}]
       ELSE /\ version' = [version EXCEPT ![s] = IF Bug = "follower_raises" THEN Max(@, m.term) ELSE @]
            /\ followers' = [followers EXCEPT ![s] = @ \union {m.from}]
            /\ leader' = [leader EXCEPT ![s] = IF @ = m.from /\ Bug # "keeps_old_id" THEN Nobody ELSE @]
            /\ UNCHANGED highest
  /\ UNCHANGED <<term, leading, says, stood, leads>>

Expire(s, b) ==
  /\ leader[s] = b \/ b \in followers[s]
  /\ LET left == followers[s] \ {b}
         led == IF leader[s] = b THEN Nobody ELSE leader[s]
         empty == left = {} /\ led = Nobody
     IN /\ followers' = [followers EXCEPT ![s] = left]
        /\ leader' = [leader EXCEPT ![s] = led]
        /\ version' = [version EXCEPT ![s] = IF empty THEN 0 ELSE @]
        /\ highest' = [highest EXCEPT ![s] = IF empty THEN 0 ELSE @]
  /\ UNCHANGED <<term, leading, says, stood, leads, net>>

Next ==
  \/ \E b \in Broker :
       \/ Campaign(b) \/ Elect(b) \/ Look(b)
       \/ \E c \in Broker : Learn(b, c)
       \/ \E s \in Server : Register(b, s) \/ Expire(s, b)
  \/ \E m \in net : Deliver(m)

Spec == Init /\ [][Next]_vars

----------------------------------------------------------------------------
I24LeaderOfTheHighestTerm ==
  \A s \in Server : leader[s] # Nobody => highest[s] > 0 /\ leads[highest[s]] = leader[s]

I24OneIdForABroker == \A s \in Server : leader[s] \notin followers[s]

I30NothingShutsTheNewestLeaderOut ==
  \A s \in Server : version[s] = 0 \/ \E t \in Term : t >= version[s] /\ leads[t] # Nobody
=============================================================================
