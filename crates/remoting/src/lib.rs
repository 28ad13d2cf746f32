//! Frames, headers, request and response codes: bytes in, bytes out.
