//! One history format and one set of checkers.
