//! The path and the parameters of a request.

use std::str::FromStr;
use wasip2::http::types::IncomingRequest;

pub struct Call {
    pub path: String,
    parameters: Vec<(String, String)>,
}

impl Call {
    pub fn new(request: &IncomingRequest) -> Self {
        let target = request.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let parameters = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (decode(name), decode(value)))
            .collect();
        Self { path: path.to_owned(), parameters }
    }

    /// The parameter's value, or nothing if it is missing.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The parameter's value, or the empty string.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// The parameter as a number, or the default if it is missing or no number.
    pub fn number<N: FromStr>(&self, name: &str, default: N) -> N {
        self.get(name).and_then(|value| value.parse().ok()).unwrap_or(default)
    }

    /// The parts of a comma-separated parameter; none of an empty one.
    pub fn list(&self, name: &str) -> Vec<String> {
        match self.text(name) {
            "" => Vec::new(),
            list => list.split(',').map(str::to_owned).collect(),
        }
    }
}

/// Undoes percent-encoding and `+` for a space.
fn decode(encoded: &str) -> String {
    let mut bytes = encoded.bytes();
    let mut decoded = Vec::with_capacity(encoded.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next(), bytes.next()].map(|digit| digit.and_then(hex));
                match digits {
                    [Some(high), Some(low)] => high << 4 | low,
                    _ => b'?',
                }
            }
            plain => plain,
        });
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16)?.try_into().ok()
}
