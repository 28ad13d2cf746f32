//! A panic is the end of the process.

/// Installs the hook that logs a panic, wherever it happens, and aborts. For the binary, at its start: a runtime that
/// catches panics would otherwise leave a process running with a part of it dead.
pub fn abort_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        let thread = std::thread::current();
        let message = info.payload_as_str().unwrap_or("a value that is no text");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(thread = thread.name().unwrap_or("unnamed"), message, place, "process.panicked");
        std::process::abort();
    }));
}
