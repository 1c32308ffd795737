//! What an invocation costs: its stages one by one, in time and in allocations, and
//! for a count of its instructions.
//!
//! All in one process, in a temporary folder, with one request at a time: nothing
//! waits for anything but the disk. Each stage is the production's own code; only
//! the order in which they are called is written again here and in
//! `runtime::stages`.
//!
//! [`Compiled`] makes a [`Subject`], which is what is measured; [`stages()`] measures
//! it, [`count()`] marks where valgrind counts, [`Asked`] is the request, [`Report`]
//! what comes out.

mod asked;
mod client;
mod count;
mod laps;
mod report;
mod stages;
mod subject;

pub use asked::Asked;
pub use count::count;
pub use report::{Cost, Report, Row, Spread};
pub use stages::stages;
pub use subject::{Compiled, Subject};
