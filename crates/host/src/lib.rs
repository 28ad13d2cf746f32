//! The production side of the ports: tokio clock, tasks and sockets, real files.
