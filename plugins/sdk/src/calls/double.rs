//! Test doubles of other services' functions.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

thread_local! {
    /// The closures that stand in for functions, by the functions' paths; the last one answers.
    static DOUBLES: RefCell<HashMap<String, Vec<Rc<dyn Any>>>> = RefCell::default();
}

/// A closure stands in for another service's function, on this thread, until this is dropped.
#[must_use = "the double goes when this is dropped"]
#[derive(Debug)]
pub struct Double {
    function: String,
    /// What was given, to take just this one away.
    closure: Rc<dyn Any>,
}

/// For [`import!`](crate::import) only: this closure, in a box, answers calls of this function.
#[doc(hidden)]
pub fn stand_in<F: 'static>(function: String, closure: F) -> Double {
    let closure: Rc<dyn Any> = Rc::new(closure);
    DOUBLES.with_borrow_mut(|doubles| {
        doubles.entry(function.clone()).or_default().push(Rc::clone(&closure));
    });
    Double { function, closure }
}

/// For [`import!`](crate::import) only: the closure that answers calls of this function.
///
/// # Panics
/// There is none.
#[doc(hidden)]
#[must_use]
pub fn of<F: 'static>(function: &str) -> Rc<F> {
    // Cloned, so that a double can itself call, and have doubles.
    let double = DOUBLES.with_borrow(|doubles| doubles.get(function)?.last().cloned());
    let Some(double) = double else {
        let (module, name) = function.rsplit_once("::").unwrap_or(("", function));
        panic!(
            "`{function}` was called without a test double: give it one by `{module}::double::{name}`"
        );
    };
    double.downcast().expect("one macro names the function, its double and their type")
}

impl Drop for Double {
    fn drop(&mut self) {
        // While the thread ends its doubles may be gone already.
        _ = DOUBLES.try_with(|doubles| {
            if let Some(closures) = doubles.borrow_mut().get_mut(&self.function) {
                closures.retain(|closure| !Rc::ptr_eq(closure, &self.closure));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{of, stand_in};

    type Function = Box<dyn Fn(i32) -> i32>;

    fn call(argument: i32) -> i32 {
        of::<Function>("service::function")(argument)
    }

    fn double(answer: impl Fn(i32) -> i32 + 'static) -> super::Double {
        stand_in::<Function>("service::function".to_owned(), Box::new(answer))
    }

    #[test]
    fn the_newest_double_answers_while_it_is_held() {
        let first = double(|argument| argument + 1);
        assert_eq!(call(1), 2);
        let second = double(|argument| argument * 10);
        assert_eq!(call(1), 10);
        drop(second);
        assert_eq!(call(1), 2);
        let third = double(|argument| -argument);
        drop(first);
        assert_eq!(call(1), -1);
        drop(third);
    }

    #[test]
    fn a_double_may_call() {
        let _outer = double(|argument| {
            let _inner = double(|argument| argument + 1);
            call(argument) * 2
        });
        assert_eq!(call(1), 4);
    }

    #[test]
    #[should_panic(expected = "give it one by `service::double::function`")]
    fn a_call_without_a_double_says_how_to_have_one() {
        call(1);
    }
}
