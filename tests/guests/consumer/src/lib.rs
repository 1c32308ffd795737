//! Publishes what it is told to, and handles each event as its data says.
//!
//! ```text
//! POST /consumer/publish          publishes the body's events [{"type", "key"?, …}]: their ids
//! GET  /consumer/value?bucket=&key=   the value, or 404
//! POST /consumer/careless?key=    writes a value in bucket `careless`, then reads the body: its length
//! POST /consumer/end?rounds=&key=&commit=&then=   computes, sets the key in bucket `end`, commits if it
//!                                 is `true`, ends by `trap`, `spin` or `wait`, or answers `ended`
//! GET  /consumer/effects          the rows of `effects`, as ["id text", …]
//! ```
//!
//! It subscribes to `test.>`. Data is a list of steps, done in this order:
//!
//! ```text
//! {"do":"count","key"}            a value in bucket `counts`, one more
//! {"do":"log","key","text"}       a value in bucket `logs`, with the text and a space after it
//! {"do":"sql","text"}             a row in `effects`, with the event's id
//! {"do":"execute","sql"}          that statement
//! {"do":"seen"}                   what it sees of the delivery, into bucket `seen` under the id
//! {"do":"publish","events"}       publishes them
//! {"do":"read","bucket"?,"key"}   reads a value in that bucket, or in `counts`
//! {"do":"compute","rounds"}       so many rounds of work
//! {"do":"spin"} {"do":"trap"} {"do":"sleep","ms"}
//! {"do":"commit"}                 commits, and notes what it is told in bucket `seen`, `commit`
//! {"do":"send","url"}             sends a POST request, and fails if that fails
//! {"do":"fail","times"}           retry, in so many attempts
//! {"do":"retry","reason"} {"do":"reject","reason"}
//! ```

mod answer;
mod publish;
mod steps;
#[path = "../../compute/src/work.rs"]
mod work;

hotdock_sdk::event_handler!(steps::handle);
