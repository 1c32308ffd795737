//! One crate has the functions of an interface and calls them, too.

use std::cell::RefCell;
use std::rc::Rc;

use hotdock_sdk::calls::Unavailable;
use hotdock_sdk::problem::Problem;

hotdock_sdk::export! {
    /// What this service does for others.
    pub(crate) mod exported = example::names::names in "tests/wit/names" {
        fn greet(name: String) -> Result<String, String> = |name| greet(&name);
        fn greet_all(guests: GuestList, politely: bool) = greet_all;
    }
}

hotdock_sdk::import! {
    /// What others do for this one.
    mod names = example::names::names in "tests/wit/names" {
        /// Whoever it is.
        fn greet(name: &str) -> Result<String, String>;
        fn greet_all(guests: &GuestList, politely: bool);
    }
}

fn greet(name: &str) -> Result<String, String> {
    if name.is_empty() { Err("there is no name".to_owned()) } else { names::greet(name) }
}

fn greet_all(guests: exported::GuestList, politely: bool) {
    let exported::GuestList { names, times } = guests;
    names::greet_all(&names::GuestList { names, times }, politely);
}

/// A text for an error is one that `?` takes.
fn welcome(name: &str) -> Result<String, Problem> {
    Ok(names::greet(name).map_err(Unavailable)? + " Welcome.")
}

#[test]
fn a_double_answers_for_the_callee() {
    let _names = names::double::greet(|name| Ok(format!("Hello {name}!")));
    assert_eq!(greet("Ann").as_deref(), Ok("Hello Ann!"));
    assert_eq!(welcome("Ann").as_deref(), Ok("Hello Ann! Welcome."));
}

#[test]
fn a_callee_that_is_away_makes_a_503() {
    let _names = names::double::greet(|_| Err("names is not deployed".to_owned()));
    let problem = welcome("Ann").expect_err("nobody greets");
    assert_eq!(problem.status().as_u16(), 503);
}

#[test]
fn a_double_sees_what_it_is_called_with() {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let sees = Rc::clone(&seen);
    let _names = names::double::greet_all(move |guests, politely| {
        sees.borrow_mut().push((guests.clone(), politely));
    });
    let guests = exported::GuestList { names: vec!["Ann".to_owned()], times: Some(2) };
    greet_all(guests, true);
    let guests = names::GuestList { names: vec!["Ann".to_owned()], times: Some(2) };
    assert_eq!(*seen.borrow(), [(guests, true)]);
}

#[test]
#[should_panic(expected = "give it one by `calls::names::double::greet`")]
fn without_a_double_a_test_says_what_it_lacks() {
    _ = greet("Ann");
}
