//! `oci://registry/repository:tag@digest`

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// What references begin with.
const SCHEME: &str = "oci://";

/// A component in a registry. Registry and tag are always named, or a digest
/// instead of the tag: nothing is taken to be Docker Hub's, or `latest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference(oci_client::Reference);

/// Why a text is no reference.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is no oci://REGISTRY/REPOSITORY:TAG or …@sha256:DIGEST: {reason}")]
pub struct InvalidReference {
    text: String,
    reason: String,
}

impl Reference {
    /// Whether a text is meant to be a reference, not a file.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// `registry.example:5000`
    #[must_use]
    pub fn registry(&self) -> &str {
        self.0.registry()
    }

    /// `shop/cart`
    #[must_use]
    pub fn repository(&self) -> &str {
        self.0.repository()
    }

    /// The repository's last segment: `cart`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.repository().rsplit('/').next().unwrap_or_default()
    }

    /// The tag, if it names one.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.0.tag()
    }

    /// The manifest's digest, if it names one.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.0.digest()
    }

    /// The same, of this digest and no other.
    #[must_use]
    pub fn at(&self, digest: &str) -> Self {
        let (registry, repository) = (self.registry().to_owned(), self.repository().to_owned());
        Self(match self.tag() {
            Some(tag) => oci_client::Reference::with_tag_and_digest(
                registry,
                repository,
                tag.to_owned(),
                digest.to_owned(),
            ),
            None => oci_client::Reference::with_digest(registry, repository, digest.to_owned()),
        })
    }

    /// Whether the registry is on this machine, so that nobody listens between.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let registry = self.registry();
        let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
        let address = host.parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    pub(super) fn as_client(&self) -> &oci_client::Reference {
        &self.0
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.0)
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid =
            |reason: &str| InvalidReference { text: text.to_owned(), reason: reason.to_owned() };
        let named = text.strip_prefix(SCHEME).ok_or_else(|| invalid("it begins otherwise"))?;
        if let Some(reason) = wrong(named) {
            return Err(invalid(&reason));
        }
        let reference: oci_client::Reference =
            named.parse().map_err(|error| invalid(&format!("{error}")))?;
        if !named.starts_with(&format!("{}/", reference.registry())) {
            return Err(invalid("it names no registry"));
        }
        let last = named.rsplit('/').next().unwrap_or_default();
        if !last.contains([':', '@']) {
            return Err(invalid("it names neither a tag nor a digest"));
        }
        Ok(Self(reference))
    }
}

impl InvalidReference {
    /// What is wrong, without the text itself.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// Which part of it is none, where the parser only says that one is.
fn wrong(named: &str) -> Option<String> {
    let (named, digest) = match named.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (named, None),
    };
    let Some((registry, path)) = named.split_once('/').filter(|(registry, _)| !registry.is_empty())
    else {
        return Some("it names no registry".to_owned());
    };
    let is_registry = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    if !registry.bytes().all(is_registry) {
        return Some(format!("`{registry}` is no registry such as registry.example:5000"));
    }
    let (repository, tag) = match path.rsplit_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (path, None),
    };
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_segment = |segment: &str| {
        let bytes = segment.as_bytes();
        bytes.iter().all(|&byte| letter(byte) || b"._-".contains(&byte))
            && [bytes.first(), bytes.last()].iter().all(|end| end.is_some_and(|&byte| letter(byte)))
    };
    if !repository.split('/').all(is_segment) {
        return Some(format!(
            "`{repository}` is no repository: lower-case letters and digits, with . _ - between \
             them, parted by /"
        ));
    }
    let is_tag = |tag: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        (1..=128).contains(&tag.len()) && tag.bytes().all(fits) && !tag.starts_with(['.', '-'])
    };
    if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
        return Some(format!("`{tag}` is no tag: 1 to 128 letters, digits, and . _ - in between"));
    }
    let is_digest = |digest: &str| match digest.strip_prefix("sha256:") {
        Some(digits) => digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        // Others are the parser's to know.
        None => digest.contains(':'),
    };
    let digest = digest.filter(|digest| !is_digest(digest))?;
    Some(format!("`{digest}` is no digest: sha256: and 64 hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_reference_is_said_as_it_was_written() {
        for text in [
            "oci://registry.example/shop/cart:1.2".to_owned(),
            "oci://localhost:5000/cart:1".to_owned(),
            format!("oci://registry.example/cart@{DIGEST}"),
            format!("oci://registry.example/cart:1@{DIGEST}"),
        ] {
            let reference: Reference = text.parse().expect("a reference");
            assert_eq!(reference.to_string(), text);
            assert_eq!(reference.name(), "cart");
        }
        let reference: Reference = "oci://registry.example/cart:1".parse().expect("a reference");
        assert_eq!(
            reference.at(DIGEST).to_string(),
            format!("oci://registry.example/cart:1@{DIGEST}")
        );
    }

    #[test]
    fn nothing_is_taken_for_granted() {
        for (text, reason) in [
            ("oci://cart:1", "names no registry"),
            ("oci://shop/cart:1", "names no registry"),
            ("oci://registry.example/cart", "neither a tag nor a digest"),
            ("oci://localhost:5000/cart", "neither a tag nor a digest"),
            ("registry.example/cart:1", "begins otherwise"),
            ("oci://registry.example/Cart:1", "`Cart` is no repository"),
            ("oci://registry.example//cart:1", "`/cart` is no repository"),
            ("oci://registry.example/:1", "`` is no repository"),
            ("oci://registry.example/cart:", "`` is no tag"),
            ("oci://registry.example/cart:1 2", "`1 2` is no tag"),
            ("oci://registry.example/cart@sha256:1", "`sha256:1` is no digest"),
            ("oci://registry.example/cart@latest", "`latest` is no digest"),
            ("oci://reg istry.example/cart:1", "`reg istry.example` is no registry"),
            ("oci://", "names no registry"),
        ] {
            let error = text.parse::<Reference>().expect_err(text).to_string();
            assert!(error.contains(text) && error.contains(reason), "{error}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        let is = |text: &str| text.parse::<Reference>().expect("a reference").is_loopback();
        assert!(is("oci://127.0.0.1:5000/cart:1"));
        assert!(is("oci://localhost:5000/cart:1"));
        assert!(!is("oci://10.0.0.1:5000/cart:1"));
        assert!(!is("oci://localhost.example/cart:1"));
    }
}
