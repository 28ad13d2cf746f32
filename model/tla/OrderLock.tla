------------------------------ MODULE OrderLock ------------------------------
(* Order locks by the time of the log; see src/order_lock.rs, which has the same variables and actions. *)
EXTENDS Naturals, Sequences

CONSTANTS End, Terms, Skew, Room, Bug

VARIABLES now, skew, term, phase, log, at, owner, expires, asked, granted, until

vars == <<now, skew, term, phase, log, at, owner, expires, asked, granted, until>>

Clients == {1, 2}
Expiry == 4
Trust == 2
Patience == 1
Max(a, b) == IF a > b THEN a ELSE b

Init ==
  /\ now = 0 /\ skew = 0 /\ term = 1 /\ phase = "started"
  /\ log = <<>> /\ at = 0
  /\ owner = 0 /\ expires = 0
  /\ asked = <<0, 0>> /\ granted = <<FALSE, FALSE>> /\ until = <<0, 0>>

Sealed == Max(IF log = <<>> THEN at ELSE log[Len(log)].at, now + skew)
Sent(kind) == CASE kind = "lock" -> now + 1 [] kind = "start" -> term [] OTHER -> 0
Entry(kind, c) == [kind |-> kind, client |-> c, at |-> Sealed, sent |-> Sent(kind)]
Takes == Len(log) < Room /\ (phase = "started" \/ Bug = "before_start")
InTime(c) == now <= asked[c] - 1 + Patience

Tick ==
  /\ now < End
  /\ now' = now + 1
  /\ UNCHANGED <<skew, term, phase, log, at, owner, expires, asked, granted, until>>

Ask(c) ==
  /\ Takes
  /\ asked[c] = 0
  /\ log' = Append(log, Entry("lock", c))
  /\ asked' = [asked EXCEPT ![c] = now + 1]
  /\ granted' = [granted EXCEPT ![c] = Bug = "unlogged" /\ owner \in {0, c}]
  /\ UNCHANGED <<now, skew, term, phase, at, owner, expires, until>>

GiveBack(c) ==
  /\ Takes
  /\ asked[c] = 0
  /\ until[c] > now
  /\ until' = [until EXCEPT ![c] = 0]
  /\ log' = Append(log, Entry("unlock", c))
  /\ UNCHANGED <<now, skew, term, phase, at, owner, expires, asked, granted>>

Other ==
  /\ Takes
  /\ log' = Append(log, Entry("other", 0))
  /\ UNCHANGED <<now, skew, term, phase, at, owner, expires, asked, granted, until>>

(* The owner once what is over by a time is dropped. *)
Alive(time) == IF expires <= time THEN 0 ELSE owner

ApplyLock(entry) ==
  LET holder == Alive(entry.at)
      grants == holder \in {0, entry.client} \/ Bug = "takeover"
      waits == asked[entry.client] = entry.sent
  IN /\ owner' = IF grants THEN entry.client ELSE holder
     /\ expires' = IF grants THEN entry.at + Expiry ELSE expires
     /\ granted' = IF waits /\ grants THEN [granted EXCEPT ![entry.client] = TRUE] ELSE granted
     /\ asked' = IF waits /\ ~grants THEN [asked EXCEPT ![entry.client] = 0] ELSE asked
     /\ UNCHANGED phase

ApplyUnlock(entry) ==
  /\ owner' = IF owner = entry.client THEN 0 ELSE owner
  /\ expires' = IF owner = entry.client THEN 0 ELSE expires
  /\ UNCHANGED <<phase, asked, granted>>

ApplyStart(entry) ==
  LET holder == Alive(IF Bug = "new_time" THEN entry.at ELSE at)
  IN /\ owner' = holder
     /\ expires' = IF holder = 0 THEN 0
                   ELSE IF Bug = "no_extend" THEN expires
                   ELSE Max(expires, entry.at + Expiry)
     /\ phase' = IF entry.sent = term THEN "started" ELSE phase
     /\ UNCHANGED <<asked, granted>>

Apply ==
  /\ log # <<>>
  /\ LET entry == Head(log) IN
       /\ at' = entry.at
       /\ CASE entry.kind = "lock" -> ApplyLock(entry)
            [] entry.kind = "unlock" -> ApplyUnlock(entry)
            [] entry.kind = "start" -> ApplyStart(entry)
            [] OTHER -> UNCHANGED <<phase, owner, expires, asked, granted>>
  /\ log' = Tail(log)
  /\ UNCHANGED <<now, skew, term, until>>

Told(c) ==
  /\ asked[c] # 0 /\ granted[c] /\ InTime(c)
  /\ until' = [until EXCEPT ![c] = now + Trust]
  /\ asked' = [asked EXCEPT ![c] = 0]
  /\ granted' = [granted EXCEPT ![c] = FALSE]
  /\ UNCHANGED <<now, skew, term, phase, log, at, owner, expires>>

Forget(c) ==
  /\ asked[c] # 0 /\ ~InTime(c)
  /\ asked' = [asked EXCEPT ![c] = 0]
  /\ granted' = [granted EXCEPT ![c] = FALSE]
  /\ UNCHANGED <<now, skew, term, phase, log, at, owner, expires, until>>

Failover(kept, s) ==
  /\ term < Terms
  /\ log' = SubSeq(log, 1, kept)
  /\ term' = term + 1
  /\ skew' = s
  /\ phase' = "elected"
  /\ UNCHANGED <<now, at, owner, expires, asked, granted, until>>

Begin ==
  /\ phase = "elected"
  /\ log' = Append(log, Entry("start", 0))
  /\ phase' = "starting"
  /\ UNCHANGED <<now, skew, term, at, owner, expires, asked, granted, until>>

Next ==
  \/ Tick
  \/ \E c \in Clients : Ask(c) \/ GiveBack(c) \/ Told(c) \/ Forget(c)
  \/ Other
  \/ Apply
  \/ \E kept \in 0..Len(log), s \in 0..Skew : Failover(kept, s)
  \/ Begin

Spec == Init /\ [][Next]_vars

----------------------------------------------------------------------------
Trusts(c) == until[c] > now
I15AtMostOneTrusts == ~(Trusts(1) /\ Trusts(2))
I15WhoTrustsHasTheRow == \A c \in Clients : Trusts(c) => owner = c
=============================================================================
