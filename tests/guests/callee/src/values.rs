//! Each kind of value, back as it came.

use crate::Callee;
use crate::bindings::exports::test::calls::values::{Colour, Figure, Guest, Person, Rights};

impl Guest for Callee {
    fn numbers(
        a: u8,
        b: i8,
        c: u16,
        d: i16,
        e: u32,
        f: i32,
        g: u64,
        h: i64,
    ) -> (u8, i8, u16, i16, u32, i32, u64, i64) {
        (a, b, c, d, e, f, g, h)
    }

    fn floats(single: f32, double: f64) -> (f32, f64) {
        (single, double)
    }

    fn texts(truth: bool, letter: char, text: String) -> (bool, char, String) {
        (truth, letter, text)
    }

    fn bytes(it: Vec<u8>) -> Vec<u8> {
        it
    }

    fn people(it: Vec<Person>) -> Vec<Person> {
        it
    }

    fn figures(it: Vec<Figure>) -> Vec<Figure> {
        it
    }

    fn colours(it: Vec<Colour>) -> Vec<Colour> {
        it
    }

    fn all_rights(it: Vec<Rights>) -> Vec<Rights> {
        it
    }

    fn options(it: Vec<Option<Option<u16>>>) -> Vec<Option<Option<u16>>> {
        it
    }

    fn results(it: Vec<Result<u32, String>>) -> Vec<Result<u32, String>> {
        it
    }

    fn bare_results(it: Vec<Result<(), ()>>) -> Vec<Result<(), ()>> {
        it
    }

    fn lists(it: Vec<Vec<Vec<u64>>>) -> Vec<Vec<Vec<u64>>> {
        it
    }

    fn nothing() {}
}
