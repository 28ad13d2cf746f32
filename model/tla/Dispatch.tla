------------------------------ MODULE Dispatch ------------------------------
(* Committed entries become rows of queues; see src/dispatch.rs, which has the same variables and actions. *)
EXTENDS Naturals, Sequences

CONSTANTS Entries, Bug

VARIABLES memory, group, log, written, synced, known, rows, half, frozen, apart, store, kept

vars == <<memory, group, log, written, synced, known, rows, half, frozen, apart, store, kept>>

Kinds == {1, 2, 3}
InQueue(kind, queue) == kind = queue \/ kind = 3
NoRows == [applied |-> 0, queues |-> <<<<>>, <<>>>>]
None == [applied |-> 0, queues |-> <<>>]

Min(a, b) == IF a < b THEN a ELSE b
Common(a, b) == CHOOSE n \in 0..Min(Len(a), Len(b)) :
                  /\ \A i \in 1..n : a[i] = b[i]
                  /\ n < Min(Len(a), Len(b)) => a[n + 1] # b[n + 1]
Conflict == Common(log, group) < Min(Len(log), Len(group))
Durable == IF memory THEN written ELSE synced

RECURSIVE QueueRows(_, _, _)
QueueRows(entries, upto, queue) ==
  IF upto = 0 THEN <<>>
  ELSE LET before == QueueRows(entries, upto - 1, queue)
       IN IF InQueue(entries[upto], queue) THEN Append(before, upto) ELSE before
Expected(entries, upto) ==
  [applied |-> upto, queues |-> <<QueueRows(entries, upto, 1), QueueRows(entries, upto, 2)>>]

Init ==
  /\ memory \in BOOLEAN
  /\ group = <<>> /\ log = <<>>
  /\ written = 0 /\ synced = 0 /\ known = 0
  /\ rows = NoRows /\ half = FALSE
  /\ frozen = None /\ apart = FALSE
  /\ store = NoRows /\ kept = NoRows

Commit(kind) ==
  /\ Len(group) < Entries
  /\ group' = Append(group, kind)
  /\ UNCHANGED <<memory, log, written, synced, known, rows, half, frozen, apart, store, kept>>

AppendEntry(kind) ==
  /\ Len(log) < Entries
  /\ ~Conflict
  /\ Len(log) < Len(group) => group[Len(log) + 1] = kind
  /\ log' = Append(log, kind)
  /\ UNCHANGED <<memory, group, written, synced, known, rows, half, frozen, apart, store, kept>>

Truncate ==
  /\ Conflict
  /\ LET keep == Common(log, group) IN
       /\ log' = SubSeq(log, 1, keep)
       /\ written' = Min(written, keep)
       /\ synced' = Min(synced, keep)
  /\ UNCHANGED <<memory, group, known, rows, half, frozen, apart, store, kept>>

Learn ==
  /\ known < Min(Len(log), Len(group))
  /\ log[known + 1] = group[known + 1]
  /\ known' = known + 1
  /\ UNCHANGED <<memory, group, log, written, synced, rows, half, frozen, apart, store, kept>>

Write ==
  /\ written < Len(log)
  /\ written' = written + 1
  /\ UNCHANGED <<memory, group, log, synced, known, rows, half, frozen, apart, store, kept>>

Sync ==
  /\ synced < written
  /\ synced' = written
  /\ UNCHANGED <<memory, group, log, written, known, rows, half, frozen, apart, store, kept>>

Apply ==
  /\ rows.applied < Len(log)
  /\ rows.applied < known \/ Bug = "apply_uncommitted"
  /\ rows.applied < Durable \/ Bug = "gate_open"
  /\ LET index == rows.applied + 1
         kind == log[index]
         queue == IF half THEN 2 ELSE IF InQueue(kind, 1) THEN 1 ELSE 2
         more == kind = 3 /\ ~half
     IN /\ half' = more
        /\ rows' = [applied |-> IF more THEN rows.applied ELSE index,
                    queues |-> [rows.queues EXCEPT ![queue] = Append(@, index)]]
  /\ UNCHANGED <<memory, group, log, written, synced, known, frozen, apart, store, kept>>

Rotate ==
  /\ frozen = None
  /\ rows # store
  /\ ~half \/ Bug = "rotate_inside"
  /\ frozen' = rows
  /\ UNCHANGED <<memory, group, log, written, synced, known, rows, half, apart, store, kept>>

WriteFrozen ==
  /\ frozen # None
  /\ frozen.applied <= synced \/ Bug = "flush_unsynced"
  /\ LET more == Bug = "applied_apart" /\ ~apart IN
       /\ apart' = more
       /\ store' = [applied |-> IF more THEN store.applied ELSE frozen.applied, queues |-> frozen.queues]
       /\ frozen' = IF more THEN frozen ELSE None
  /\ UNCHANGED <<memory, group, log, written, synced, known, rows, half, kept>>

Persist ==
  /\ kept # store
  /\ kept' = store
  /\ UNCHANGED <<memory, group, log, written, synced, known, rows, half, frozen, apart, store>>

Crash(left) ==
  /\ log' = SubSeq(log, 1, left)
  /\ written' = left /\ synced' = left
  /\ known' = Min(known, left)
  /\ rows' = kept /\ store' = kept
  /\ half' = FALSE /\ frozen' = None /\ apart' = FALSE
  /\ UNCHANGED <<memory, group, kept>>

Next ==
  \/ \E kind \in Kinds : Commit(kind) \/ AppendEntry(kind)
  \/ Truncate \/ Learn \/ Write \/ Sync \/ Apply \/ Rotate \/ WriteFrozen \/ Persist
  \/ \E left \in synced..written : Crash(left)

Spec == Init /\ [][Next]_vars

----------------------------------------------------------------------------
I25OwnLogHoldsWhatIsShown == rows.applied <= Durable
I9OnlyCommittedIsVisible == rows.applied <= Len(group)
I3RowsOfCommittedEntriesOnce ==
  rows.applied <= Len(group) => (half \/ rows = Expected(group, rows.applied))
I28StoreKnowsNothingTheLogCanLose == kept.applied <= synced
=============================================================================
