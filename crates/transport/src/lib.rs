//! Connections: framing, back-pressure, request and response matching.
