//! Steps of the protocol, told to whoever checks them.

/// Tells that a step of the protocol's specification was taken, as a trace event with target `spec`: its name and numbers.
/// Stands where the step takes effect, under the lock that orders it, so that in a world of one thread the events of a whole
/// group are in their true order. An acceptor reads them (package `timbermq-model`, module `trace`, which lists them all).
///
/// The crate that uses it depends on `tracing`. Nothing is evaluated unless somebody listens.
#[macro_export]
macro_rules! spec_event {
    ($event:literal $(, $field:ident = $value:expr)* $(,)?) => {
        tracing::trace!(target: "spec", event = $event $(, $field = $value)*)
    };
}
