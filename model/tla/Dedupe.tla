-------------------------------- MODULE Dedupe -------------------------------
(* Repeated sends; see src/dedupe.rs, which has the same variables and actions. *)
EXTENDS Naturals, Sequences

CONSTANTS End, Terms, Skew, Room, Bug

VARIABLES now, skew, term, phase, log, at, elapsed, end, copies, offset, window, sent, answered, differs

vars == <<now, skew, term, phase, log, at, elapsed, end, copies, offset, window, sent, answered, differs>>

All == {1, 2}
Window == 3
Patience == 2
Max(a, b) == IF a > b THEN a ELSE b

Init ==
  /\ now = 0 /\ skew = 0 /\ term = 1 /\ phase = "started"
  /\ log = <<>> /\ at = 0 /\ elapsed = 0
  /\ end = 0 /\ copies = <<0, 0>> /\ offset = <<0, 0>> /\ window = <<0, 0>>
  /\ sent = <<0, 0>> /\ answered = <<0, 0>> /\ differs = FALSE

Takes == Len(log) < Room /\ (phase = "started" \/ Bug = "before_start")
Propose(x) ==
  log' = Append(log, [id |-> x, at |-> Max(IF log = <<>> THEN at ELSE log[Len(log)].at, now + skew),
                      term |-> IF x = 0 THEN term ELSE 0])
Answer(x, place) ==
  /\ answered' = IF answered[x] = 0 THEN [answered EXCEPT ![x] = place] ELSE answered
  /\ differs' = (differs \/ (answered[x] # 0 /\ answered[x] # place))

Tick ==
  /\ now < End
  /\ now' = now + 1
  /\ UNCHANGED <<skew, term, phase, log, at, elapsed, end, copies, offset, window, sent, answered, differs>>

Send(x) ==
  /\ Takes
  /\ sent[x] = 0 \/ now <= sent[x] - 1 + Patience
  /\ sent' = IF sent[x] = 0 THEN [sent EXCEPT ![x] = now + 1] ELSE sent
  /\ IF Bug = "checked_early" /\ window[x] # 0
     THEN Answer(x, offset[x]) /\ UNCHANGED log
     ELSE Propose(x) /\ UNCHANGED <<answered, differs>>
  /\ UNCHANGED <<now, skew, term, phase, at, elapsed, end, copies, offset, window>>

Apply ==
  /\ log # <<>>
  /\ LET entry == Head(log)
         x == entry.id
         passed == IF x # 0 \/ Bug = "counts_jump" THEN elapsed + entry.at - at ELSE elapsed
         known == [y \in All |-> IF window[y] # 0 /\ passed >= window[y] - 1 + Window THEN 0 ELSE window[y]]
     IN /\ at' = entry.at
        /\ elapsed' = passed
        /\ IF x = 0
           THEN /\ phase' = IF entry.term = term THEN "started" ELSE phase
                /\ window' = known
                /\ UNCHANGED <<end, copies, offset, answered, differs>>
           ELSE IF known[x] = 0 \/ Bug = "checked_early"
           THEN /\ copies' = IF copies[x] < 2 THEN [copies EXCEPT ![x] = @ + 1] ELSE copies
                /\ end' = end + 1
                /\ offset' = IF offset[x] = 0 THEN [offset EXCEPT ![x] = end + 1] ELSE offset
                /\ window' = [known EXCEPT ![x] = passed + 1]
                /\ Answer(x, end + 1)
                /\ UNCHANGED phase
           ELSE /\ window' = known
                /\ Answer(x, offset[x])
                /\ UNCHANGED <<phase, end, copies, offset>>
  /\ log' = Tail(log)
  /\ UNCHANGED <<now, skew, term, sent>>

Failover(kept, s) ==
  /\ term < Terms
  /\ log' = SubSeq(log, 1, kept)
  /\ term' = term + 1
  /\ skew' = s
  /\ phase' = "elected"
  /\ window' = IF Bug = "window_lost" THEN <<0, 0>> ELSE window
  /\ UNCHANGED <<now, at, elapsed, end, copies, offset, sent, answered, differs>>

Begin ==
  /\ phase = "elected"
  /\ Propose(0)
  /\ phase' = "starting"
  /\ UNCHANGED <<now, skew, term, at, elapsed, end, copies, offset, window, sent, answered, differs>>

Next ==
  \/ Tick
  \/ \E x \in All : Send(x)
  \/ Apply
  \/ \E kept \in 0..Len(log), s \in 0..Skew : Failover(kept, s)
  \/ Begin

Spec == Init /\ [][Next]_vars

----------------------------------------------------------------------------
I7StoredOnce == \A x \in All : copies[x] <= 1
I7AnswersAgree == ~differs
=============================================================================
