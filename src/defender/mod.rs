//! The source: Microsoft Defender's advanced hunting. Writes the queries, makes the calls, reads the answers.
//! Knows nothing of where rows go, and keeps no state between calls.

pub mod scanner;
