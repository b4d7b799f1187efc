//! What a verb gives: work to be waited for.

use std::pin::Pin;

use anyhow::Result;

/// A verb at work. In a box all of it is compiled here: what waits for it would otherwise have a copy of
/// everything that it awaits, in each crate.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;
