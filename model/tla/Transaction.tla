----------------------------- MODULE Transaction -----------------------------
(* Transactional messages; see src/transaction.rs, which has the same variables and actions. *)
EXTENDS Naturals, Sequences

CONSTANTS Checks, Terms, Room, Bug

VARIABLES term, started, log, status, first, checks, copies, told, timers, oldTimers, misasked

vars == <<term, started, log, status, first, checks, copies, told, timers, oldTimers, misasked>>

All == {1, 2}
NotTold == [commit |-> FALSE, rollback |-> FALSE]

Init ==
  /\ term = 1 /\ started = TRUE /\ log = <<>>
  /\ status = <<"none", "none">> /\ first = <<"none", "none">>
  /\ checks = <<0, 0>> /\ copies = <<0, 0>>
  /\ told = <<NotTold, NotTold>>
  /\ timers = <<FALSE, FALSE>> /\ oldTimers = <<FALSE, FALSE>>
  /\ misasked = FALSE

Takes == started /\ Len(log) < Room
OnItsWay(x, kinds) == \E i \in 1..Len(log) : log[i].id = x /\ log[i].kind \in kinds
Propose(kind, x) == log' = Append(log, [kind |-> kind, id |-> x])

Prepare(x) ==
  /\ Takes
  /\ status[x] = "none"
  /\ ~OnItsWay(x, {"half"})
  /\ Propose("half", x)
  /\ UNCHANGED <<term, started, status, first, checks, copies, told, timers, oldTimers, misasked>>

Decide(x, decision) ==
  /\ Takes
  /\ status[x] # "none"
  /\ Propose(decision, x)
  /\ UNCHANGED <<term, started, status, first, checks, copies, told, timers, oldTimers, misasked>>

Fire(x) ==
  /\ Takes
  /\ timers[x]
  /\ ~OnItsWay(x, {"check", "expire"})
  /\ Propose(IF checks[x] < Checks THEN "check" ELSE "expire", x)
  /\ UNCHANGED <<term, started, status, first, checks, copies, told, timers, oldTimers, misasked>>

FireOld(x) ==
  /\ oldTimers[x]
  /\ oldTimers' = [oldTimers EXCEPT ![x] = FALSE]
  /\ misasked' = (misasked \/ (Bug = "check_unlogged" /\ status[x] # "half"))
  /\ UNCHANGED <<term, started, log, status, first, checks, copies, told, timers>>

Resolve(x, to) ==
  /\ status' = [status EXCEPT ![x] = to]
  /\ first' = IF first[x] = "none" THEN [first EXCEPT ![x] = to] ELSE first
  /\ timers' = [timers EXCEPT ![x] = FALSE]

ApplyHalf(x) ==
  /\ status' = [status EXCEPT ![x] = "half"]
  /\ timers' = [timers EXCEPT ![x] = started]
  /\ UNCHANGED <<first, checks, copies, told, misasked>>

ApplyCommit(x) ==
  /\ IF status[x] = "half" THEN Resolve(x, "committed") ELSE UNCHANGED <<status, first, timers>>
  /\ copies' = IF status[x] = "half" \/ (status[x] = "committed" /\ Bug = "applied_twice")
               THEN [copies EXCEPT ![x] = @ + 1] ELSE copies
  /\ told' = [told EXCEPT ![x].commit = @ \/ status[x] \in {"half", "committed"}]
  /\ UNCHANGED <<checks, misasked>>

ApplyRollback(x) ==
  LET undoes == status[x] = "half" \/ (status[x] = "committed" /\ Bug = "overturned")
  IN /\ IF undoes THEN Resolve(x, "rolled_back") ELSE UNCHANGED <<status, first, timers>>
     /\ told' = [told EXCEPT ![x].rollback = @ \/ undoes \/ status[x] # "committed"]
     /\ UNCHANGED <<checks, copies, misasked>>

ApplyCheck(x) ==
  /\ checks' = IF status[x] = "half" THEN [checks EXCEPT ![x] = @ + 1] ELSE checks
  /\ UNCHANGED <<status, first, copies, told, timers, misasked>>

ApplyExpire(x) ==
  /\ IF status[x] = "half" \/ Bug = "expire_decided"
     THEN Resolve(x, "expired") ELSE UNCHANGED <<status, first, timers>>
  /\ UNCHANGED <<checks, copies, told, misasked>>

Apply ==
  /\ log # <<>>
  /\ LET entry == Head(log) IN
       CASE entry.kind = "half" -> ApplyHalf(entry.id)
         [] entry.kind = "commit" -> ApplyCommit(entry.id)
         [] entry.kind = "rollback" -> ApplyRollback(entry.id)
         [] entry.kind = "check" -> ApplyCheck(entry.id)
         [] entry.kind = "expire" -> ApplyExpire(entry.id)
  /\ log' = Tail(log)
  /\ UNCHANGED <<term, started, oldTimers>>

Failover(kept) ==
  /\ term < Terms
  /\ log' = SubSeq(log, 1, kept)
  /\ term' = term + 1
  /\ started' = FALSE
  /\ oldTimers' = timers
  /\ timers' = <<FALSE, FALSE>>
  /\ UNCHANGED <<status, first, checks, copies, told, misasked>>

Start ==
  /\ ~started
  /\ log = <<>>
  /\ started' = TRUE
  /\ timers' = IF Bug = "timers_lost" THEN timers ELSE [x \in All |-> status[x] = "half"]
  /\ UNCHANGED <<term, log, status, first, checks, copies, told, oldTimers, misasked>>

Next ==
  \/ \E x \in All : Prepare(x) \/ Fire(x) \/ FireOld(x)
  \/ \E x \in All, decision \in {"commit", "rollback"} : Decide(x, decision)
  \/ Apply
  \/ \E kept \in 0..Len(log) : Failover(kept)
  \/ Start

Spec == Init /\ [][Next]_vars

----------------------------------------------------------------------------
I17NobodyIsAskedAboutADecidedOne == ~misasked
I16VisibleOnceWhenCommitted == \A x \in All : copies[x] = (IF status[x] = "committed" THEN 1 ELSE 0)
I16FirstDecisionHolds == \A x \in All : status[x] \in {"none", "half", first[x]}
I16WhatWasToldHolds ==
  \A x \in All : /\ told[x].commit => status[x] = "committed"
                 /\ told[x].rollback => status[x] # "committed"
I17EveryUndecidedOneHasATimer == \A x \in All : status[x] = "half" /\ started => timers[x]
I17NothingExpiresBeforeAllChecks == \A x \in All : status[x] = "expired" => checks[x] = Checks
=============================================================================
