//! Paths through all states of a specification that together take every step, for running them on the product.

use std::collections::HashMap;
use std::hash::Hash;

use crate::spec::Specification;

/// The states that can be reached, and the steps between them.
pub struct Graph<S: Specification> {
    states: Vec<S::State>,
    /// The step by which a state was first reached; `None` where the specification starts.
    first: Vec<Option<(usize, usize)>>,
    steps: Vec<Vec<(S::Action, usize)>>,
}

impl<S: Specification> Graph<S>
where
    S::State: Eq + Hash,
{
    /// Explores `spec` breadth first.
    pub fn new(spec: &S) -> Self {
        let mut graph = Self { states: Vec::new(), first: Vec::new(), steps: Vec::new() };
        let mut known = HashMap::new();
        for state in spec.init() {
            known.insert(state.clone(), graph.states.len());
            graph.states.push(state);
            graph.first.push(None);
        }
        let mut enabled = Vec::new();
        while graph.steps.len() < graph.states.len() {
            let from = graph.steps.len();
            spec.actions(&graph.states[from], &mut enabled);
            let mut steps = Vec::with_capacity(enabled.len());
            for action in enabled.drain(..) {
                let state = spec.next(&graph.states[from], action);
                let to = *known.entry(state).or_insert_with_key(|state| {
                    graph.states.push(state.clone());
                    graph.first.push(Some((from, steps.len())));
                    graph.states.len() - 1
                });
                steps.push((action, to));
            }
            graph.steps.push(steps);
        }
        graph
    }

    /// States that can be reached.
    pub fn states(&self) -> usize {
        self.states.len()
    }

    /// Steps between them.
    pub fn steps(&self) -> usize {
        self.steps.iter().map(Vec::len).sum()
    }

    /// Calls `walk` with one path after the other, each from where the specification starts, until every step was in one.
    /// Returns their number.
    pub fn cover(&self, mut walk: impl FnMut(&Path<'_, S>)) -> usize {
        let mut open: Vec<Vec<bool>> = self.steps.iter().map(|steps| vec![true; steps.len()]).collect();
        let mut paths = 0;
        for start in 0..self.states.len() {
            while let Some(step) = open[start].iter().position(|open| *open) {
                let mut taken = self.way_to(start);
                let (mut at, mut next) = (start, Some(step));
                while let Some(step) = next {
                    taken.push((at, step));
                    open[at][step] = false;
                    at = self.steps[at][step].1;
                    next = open[at].iter().position(|open| *open);
                }
                for (from, step) in &taken {
                    open[*from][*step] = false;
                }
                walk(&Path { graph: self, taken });
                paths += 1;
            }
        }
        paths
    }

    fn way_to(&self, state: usize) -> Vec<(usize, usize)> {
        let mut way: Vec<(usize, usize)> =
            std::iter::successors(self.first[state], |(from, _)| self.first[*from]).collect();
        way.reverse();
        way
    }
}

/// Steps from where the specification starts.
pub struct Path<'a, S: Specification> {
    graph: &'a Graph<S>,
    taken: Vec<(usize, usize)>,
}

impl<S: Specification> Path<'_, S> {
    /// Each step: the state before, the action, the state after.
    pub fn steps(&self) -> impl Iterator<Item = (&S::State, S::Action, &S::State)> {
        self.taken.iter().map(|(from, step)| {
            let (action, to) = self.graph.steps[*from][*step];
            (&self.graph.states[*from], action, &self.graph.states[to])
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Counts round and round, or jumps from 1 to 4.
    struct Round;

    impl Specification for Round {
        type State = u8;
        type Action = u8;

        const ACTIONS: &'static [&'static str] = &["Add"];

        fn position(_: u8) -> usize {
            0
        }

        fn init(&self) -> Vec<u8> {
            vec![0]
        }

        fn actions(&self, state: &u8, enabled: &mut Vec<u8>) {
            enabled.push(1);
            if *state == 1 {
                enabled.push(3);
            }
        }

        fn next(&self, state: &u8, action: u8) -> u8 {
            (state + action) % 5
        }

        fn broken(&self, _: &u8) -> Option<&'static str> {
            None
        }
    }

    #[test]
    fn every_step_is_in_a_path_that_begins_at_the_start() {
        let graph = Graph::new(&Round);
        let mut taken = BTreeSet::new();
        graph.cover(|path| {
            let mut at = 0;
            for (from, action, to) in path.steps() {
                assert_eq!((*from, *to), (at, (at + action) % 5));
                taken.insert((at, action));
                at = *to;
            }
        });
        assert_eq!((graph.steps(), taken.len()), (6, 6));
    }
}
