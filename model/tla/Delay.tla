-------------------------------- MODULE Delay --------------------------------
(* Delayed messages; see src/delay.rs, which has the same variables and actions. *)
EXTENDS Naturals, Sequences

CONSTANTS End, Terms, Skew, Room, Bug

VARIABLES now, skew, term, started, log, at, status, due, copies, drivers, early

vars == <<now, skew, term, started, log, at, status, due, copies, drivers, early>>

All == {1, 2}
Length == 1
Max(a, b) == IF a > b THEN a ELSE b

Init ==
  /\ now = 0 /\ skew = 0 /\ term = 1 /\ started = TRUE
  /\ log = <<>> /\ at = 0
  /\ status = <<"none", "none">> /\ due = <<0, 0>> /\ copies = <<0, 0>>
  /\ drivers = <<"idle", "idle">>
  /\ early = FALSE

Clock == now + skew
Takes == started /\ Len(log) < Room
Append1(fire, x) ==
  log' = Append(log, [fire |-> fire, id |-> x,
                      at |-> Max(IF log = <<>> THEN at ELSE log[Len(log)].at, Clock)])

Tick ==
  /\ now < End
  /\ now' = now + 1
  /\ UNCHANGED <<skew, term, started, log, at, status, due, copies, drivers, early>>

SetClock(s) ==
  /\ s # skew
  /\ skew' = s
  /\ UNCHANGED <<now, term, started, log, at, status, due, copies, drivers, early>>

Put(x) ==
  /\ Takes
  /\ status[x] = "none"
  /\ \A i \in 1..Len(log) : log[i].id = x => log[i].fire
  /\ Append1(FALSE, x)
  /\ UNCHANGED <<now, skew, term, started, at, status, due, copies, drivers, early>>

Fire(x) ==
  /\ drivers[x] = "armed"
  /\ Clock >= due[x]
  /\ drivers' = [drivers EXCEPT ![x] = "fired"]
  /\ UNCHANGED <<now, skew, term, started, log, at, status, due, copies, early>>

Propose(x) ==
  /\ Takes
  /\ drivers[x] = "fired"
  /\ Append1(TRUE, x)
  /\ drivers' = [drivers EXCEPT ![x] = "proposed"]
  /\ UNCHANGED <<now, skew, term, started, at, status, due, copies, early>>

Retry(x) ==
  /\ drivers[x] = "proposed"
  /\ drivers' = [drivers EXCEPT ![x] = "armed"]
  /\ UNCHANGED <<now, skew, term, started, log, at, status, due, copies, early>>

ApplyPut(entry) ==
  /\ status' = [status EXCEPT ![entry.id] = "waits"]
  /\ due' = [due EXCEPT ![entry.id] = entry.at + Length]
  /\ drivers' = [drivers EXCEPT ![entry.id] = IF started THEN "armed" ELSE "idle"]
  /\ UNCHANGED <<copies, early>>

ApplyFire(entry) ==
  LET x == entry.id
      fires == /\ status[x] = "waits" \/ Bug = "fires_again"
               /\ due[x] <= entry.at \/ Bug = "trusts_driver"
      refused == status[x] = "waits" /\ drivers[x] = "proposed"
  IN /\ status' = IF fires THEN [status EXCEPT ![x] = "visible"] ELSE status
     /\ copies' = IF fires /\ copies[x] < 2 THEN [copies EXCEPT ![x] = @ + 1] ELSE copies
     /\ drivers' = IF fires THEN [drivers EXCEPT ![x] = "idle"]
                   ELSE IF refused THEN [drivers EXCEPT ![x] = IF Bug = "gives_up" THEN "idle" ELSE "armed"]
                   ELSE drivers
     /\ early' = (early \/ (fires /\ (entry.at < due[x] \/ now + Skew < due[x])))
     /\ UNCHANGED due

Apply ==
  /\ log # <<>>
  /\ at' = Head(log).at
  /\ IF Head(log).fire THEN ApplyFire(Head(log)) ELSE ApplyPut(Head(log))
  /\ log' = Tail(log)
  /\ UNCHANGED <<now, skew, term, started>>

Failover(kept, s) ==
  /\ term < Terms
  /\ log' = SubSeq(log, 1, kept)
  /\ term' = term + 1
  /\ skew' = s
  /\ started' = FALSE
  /\ drivers' = <<"idle", "idle">>
  /\ UNCHANGED <<now, at, status, due, copies, early>>

Start ==
  /\ ~started
  /\ log = <<>>
  /\ started' = TRUE
  /\ drivers' = [x \in All |-> IF status[x] = "waits" /\ Bug # "timers_lost" THEN "armed" ELSE drivers[x]]
  /\ UNCHANGED <<now, skew, term, log, at, status, due, copies, early>>

Next ==
  \/ Tick
  \/ \E s \in 0..Skew : SetClock(s)
  \/ \E x \in All : Put(x) \/ Fire(x) \/ Propose(x) \/ Retry(x)
  \/ Apply
  \/ \E kept \in 0..Len(log), s \in 0..Skew : Failover(kept, s)
  \/ Start

Spec == Init /\ [][Next]_vars

----------------------------------------------------------------------------
I18NotBeforeItIsDue == ~early
I18OnceInItsQueue == \A x \in All : copies[x] = (IF status[x] = "visible" THEN 1 ELSE 0)
I18WhateverWaitsHasATimer == \A x \in All : started /\ status[x] = "waits" => drivers[x] # "idle"
=============================================================================
