//! One MAC on the wire: everything behind a port that drops all other source MACs and delivers to that one alone.

mod clients;
mod hostile;
mod machine;
mod scene;
mod services;
mod switching;
mod talk;
mod trouble;
