//! Waiting for the first of two futures. The left one is asked first, so equal runs are equal.

use std::pin::pin;

pub(crate) use futures_util::future::Either;
use futures_util::future::select;

/// The output of whichever ends first; the other is dropped.
pub(crate) async fn race<A: Future, B: Future>(left: A, right: B) -> Either<A::Output, B::Output> {
    match select(pin!(left), pin!(right)).await {
        Either::Left((output, _)) => Either::Left(output),
        Either::Right((output, _)) => Either::Right(output),
    }
}
