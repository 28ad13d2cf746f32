//! Is there an order of overlapping calls that explains what each of them saw?
//!
//! The search is the one of Wing and Gong with Lowe's memory: calls are put in order one by one, never one that began after
//! another, not yet placed, had returned; what was reached with the same set of calls and the same state is not tried again.
//! It is bounded: beyond a number of steps it says so, and nobody may take that for an answer.

use std::collections::HashSet;
use std::hash::Hash;

use crate::history::{Micros, NEVER};

/// Most calls in one search.
pub const CALLS_MAX: usize = 256;

/// When a call was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// It took effect after this.
    pub invoke: Micros,
    /// And before this.
    pub returned: Micros,
    /// It did take effect. One of unknown outcome may have had none.
    pub must: bool,
}

/// What calls do to some object.
pub trait Model {
    /// The object.
    type State: Clone + Eq + Hash;

    /// What it is in the beginning.
    fn initial(&self) -> Self::State;

    /// Adds every state that call number `call` can leave behind, taking effect in `state`; none if it cannot have seen that.
    fn step(&self, state: &Self::State, call: usize, into: &mut Vec<Self::State>);
}

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// There is an order.
    Linearizable,
    /// There is none.
    NotLinearizable,
    /// Too many calls, or too many steps.
    TooHard,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Set([u64; CALLS_MAX / 64]);

impl Set {
    const fn has(&self, call: usize) -> bool {
        self.0[call / 64] & (1 << (call % 64)) != 0
    }

    const fn with(mut self, call: usize) -> Self {
        self.0[call / 64] |= 1 << (call % 64);
        self
    }
}

/// Looks for an order of `calls`, in at most `steps_max` steps.
pub fn search<M: Model>(model: &M, calls: &[Call], steps_max: usize) -> Search {
    if calls.len() > CALLS_MAX {
        return Search::TooHard;
    }
    let mut order: Vec<usize> = (0..calls.len()).collect();
    order.sort_by_key(|call| calls[*call].invoke);
    let must = calls.iter().filter(|call| call.must).count();
    let mut known: HashSet<(Set, M::State)> = HashSet::new();
    let mut open = vec![(Set::default(), 0, model.initial())];
    let mut candidates = Vec::new();
    let mut states = Vec::new();
    let mut steps = 0;
    while let Some((set, placed, state)) = open.pop() {
        if placed == must {
            return Search::Linearizable;
        }
        if !known.insert((set, state.clone())) {
            continue;
        }
        let waiting = || order.iter().copied().filter(|call| !set.has(*call));
        let deadline =
            waiting().filter(|call| calls[*call].must).map(|call| calls[call].returned).min().unwrap_or(NEVER);
        candidates.clear();
        candidates.extend(waiting().take_while(|call| calls[*call].invoke <= deadline));
        // The last is tried first: what returned first, and what may have had no effect at the very end.
        candidates.sort_by_key(|call| std::cmp::Reverse((!calls[*call].must, calls[*call].returned)));
        for call in candidates.iter().copied() {
            steps += 1;
            model.step(&state, call, &mut states);
            let placed = placed + usize::from(calls[call].must);
            open.extend(states.drain(..).map(|state| (set.with(call), placed, state)));
        }
        if steps > steps_max {
            return Search::TooHard;
        }
    }
    Search::NotLinearizable
}

/// Some calls of a model.
struct Part<'a, M> {
    model: &'a M,
    calls: Vec<usize>,
}

impl<M: Model> Model for Part<'_, M> {
    type State = M::State;

    fn initial(&self) -> M::State {
        self.model.initial()
    }

    fn step(&self, state: &M::State, call: usize, into: &mut Vec<M::State>) {
        self.model.step(state, self.calls[call], into);
    }
}

/// Of calls that have no order, as few as still have none when all other calls may or may not have had an effect.
/// `is_look` says which calls change nothing.
pub fn explain<M: Model>(model: &M, calls: &[Call], is_look: impl Fn(usize) -> bool, steps_max: usize) -> Vec<usize> {
    let mut by_return: Vec<usize> = (0..calls.len()).filter(|call| calls[*call].must).collect();
    by_return.sort_by_key(|call| calls[*call].returned);
    let fails = |kept: &[usize]| {
        let end = kept.iter().map(|call| calls[*call].returned).max().unwrap_or(0);
        let may = |call: &usize| !kept.contains(call) && !is_look(*call) && calls[*call].invoke <= end;
        let others = (0..calls.len()).filter(may);
        let part = Part { model, calls: kept.iter().copied().chain(others).collect() };
        // When a call returned that need not have happened holds up nobody.
        let relax = |(index, call): (usize, &usize)| Call { must: index < kept.len(), ..calls[*call] };
        let relaxed: Vec<Call> = part.calls.iter().enumerate().map(relax).collect();
        search(&part, &relaxed, steps_max) == Search::NotLinearizable
    };
    let shortest = (1..=by_return.len()).find(|length| fails(&by_return[..*length]));
    let mut kept = by_return;
    kept.truncate(shortest.unwrap_or(kept.len()));
    for index in (0..kept.len()).rev() {
        let call = kept.remove(index);
        if !fails(&kept) {
            kept.insert(index, call);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A register: writes store a value, reads saw one.
    struct Register(Vec<(bool, u8)>);

    impl Model for Register {
        type State = u8;

        fn initial(&self) -> u8 {
            0
        }

        fn step(&self, state: &u8, call: usize, into: &mut Vec<u8>) {
            match self.0[call] {
                (true, value) => into.push(value),
                (false, value) if value == *state => into.push(value),
                _ => {}
            }
        }
    }

    /// All orders of all subsets that leave out only calls that need not have happened.
    fn brute_force(model: &Register, calls: &[Call], placed: &mut Vec<usize>, state: u8) -> bool {
        if calls.iter().enumerate().all(|(call, of)| !of.must || placed.contains(&call)) {
            return true;
        }
        for call in 0..calls.len() {
            // Whoever returned before this one began must have been placed before it.
            let too_early = (0..calls.len())
                .any(|d| d != call && calls[d].must && !placed.contains(&d) && calls[d].returned < calls[call].invoke);
            if placed.contains(&call) || too_early {
                continue;
            }
            let mut states = Vec::new();
            model.step(&state, call, &mut states);
            for next in states {
                placed.push(call);
                let found = brute_force(model, calls, placed, next);
                placed.pop();
                if found {
                    return true;
                }
            }
        }
        false
    }

    /// A lock that nobody gives back: it is granted once.
    struct Taken;

    impl Model for Taken {
        type State = bool;

        fn initial(&self) -> bool {
            false
        }

        fn step(&self, state: &bool, _call: usize, into: &mut Vec<bool>) {
            if !state {
                into.push(true);
            }
        }
    }

    fn certain(invoke: u64, returned: u64) -> Call {
        Call { invoke, returned, must: true }
    }

    #[test]
    fn what_an_explanation_leaves_out_may_have_happened_late_or_never() {
        // 1 is written, then 2, then 1 is read: without the first write's return it might have come last.
        let register = Register(vec![(true, 1), (true, 2), (false, 1)]);
        let calls = [certain(0, 1), certain(2, 3), certain(4, 5)];
        let mut needed = explain(&register, &calls, |call| call == 2, 1_000);
        needed.sort_unstable();
        assert_eq!(needed, [0, 1, 2]);
        // Two grants are enough, and the third, which was under way all the time, has no part in it.
        let mut needed = explain(&Taken, &[certain(0, 1), certain(2, 3), certain(0, 100)], |_| false, 1_000);
        needed.sort_unstable();
        assert_eq!(needed, [0, 1]);
    }

    fn tiny() -> impl Strategy<Value = Vec<(u64, u64, bool, bool, u8)>> {
        prop::collection::vec((0u64..12, 0u64..6, any::<bool>(), prop::bool::weighted(0.75), 0u8..3), 0..7)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn the_search_agrees_with_brute_force(history in tiny()) {
            let model = Register(history.iter().map(|(_, _, write, _, value)| (*write, *value)).collect());
            let calls: Vec<Call> = history
                .iter()
                .map(|(invoke, length, _, must, _)| Call {
                    invoke: *invoke,
                    returned: if *must { invoke + length } else { NEVER },
                    must: *must,
                })
                .collect();
            let expected = if brute_force(&model, &calls, &mut Vec::new(), 0) {
                Search::Linearizable
            } else {
                Search::NotLinearizable
            };
            prop_assert_eq!(search(&model, &calls, 1_000_000), expected);
        }

        #[test]
        fn an_explanation_has_no_order_and_no_call_too_many(history in tiny()) {
            let model = Register(history.iter().map(|(_, _, write, _, value)| (*write, *value)).collect());
            let calls: Vec<Call> = history
                .iter()
                .map(|(invoke, length, _, _, _)| Call { invoke: *invoke, returned: invoke + length, must: true })
                .collect();
            if search(&model, &calls, 1_000_000) == Search::NotLinearizable {
                let needed = explain(&model, &calls, |call| !model.0[call].0, 1_000_000);
                let only = |kept: &[usize]| -> Vec<Call> {
                    let of = |call: usize| kept.contains(&call);
                    let relax = |(call, of_call): (usize, &Call)| if of(call) {
                        *of_call
                    } else {
                        let returned = if model.0[call].0 { NEVER } else { of_call.returned };
                        Call { must: false, returned, ..*of_call }
                    };
                    calls.iter().enumerate().map(relax).collect()
                };
                prop_assert_eq!(search(&model, &only(&needed), 1_000_000), Search::NotLinearizable);
                for drop in &needed {
                    let fewer: Vec<usize> = needed.iter().copied().filter(|call| call != drop).collect();
                    prop_assert_eq!(search(&model, &only(&fewer), 1_000_000), Search::Linearizable);
                }
            }
        }
    }

    #[test]
    fn too_hard_is_an_answer_of_its_own() {
        let calls = vec![Call { invoke: 0, returned: 10, must: true }; 40];
        let writes: Vec<(bool, u8)> = (0..40).map(|call| (call < 39, call)).collect();
        let mut impossible = writes;
        impossible[39] = (false, 200);
        assert_eq!(search(&Register(impossible), &calls, 1_000), Search::TooHard);
        let many = vec![Call { invoke: 0, returned: 10, must: true }; CALLS_MAX + 1];
        assert_eq!(search(&Register(vec![(true, 0); CALLS_MAX + 1]), &many, usize::MAX), Search::TooHard);
    }
}
