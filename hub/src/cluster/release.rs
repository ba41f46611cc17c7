//! Releases of KubeEdge.

use semver::Version;

use crate::error::{Error, Result};

/// A release of `KubeEdge`: `v1.18.0`, or one on trial, `v1.19.0-beta.0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release(Version);

impl Release {
    /// Understands `1.18.0` and `v1.18.0`.
    ///
    /// # Errors
    /// API-001.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || Error::invalid("version must be a release of KubeEdge, as 1.18.0 or v1.18.0");
        if text.len() > 32 {
            return Err(bad());
        }
        let version: Version = text.strip_prefix('v').unwrap_or(text).parse().map_err(|_| bad())?;
        let trial = |pre: &str| {
            pre.split_once('.').is_some_and(|(stage, n)| {
                matches!(stage, "alpha" | "beta" | "rc") && n.parse::<u16>().is_ok()
            })
        };
        if !version.build.is_empty() || !(version.pre.is_empty() || trial(&version.pre)) {
            return Err(bad());
        }
        Ok(Self(version))
    }

    /// The tag of its images, `v1.18.0`.
    #[must_use]
    pub fn tag(&self) -> String {
        format!("v{}", self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_three_numbers() {
        for (text, tag) in
            [("1.18.0", "v1.18.0"), ("v1.17.0", "v1.17.0"), ("1.19.0-beta.0", "v1.19.0-beta.0")]
        {
            assert_eq!(Release::parse(text).unwrap().tag(), tag);
        }
        for bad in [
            "",
            "1.18",
            "latest",
            "vv1.18.0",
            "1.18.0+x",
            "1.18.0-dirty",
            "01.18.0",
            "1.18.0-rc",
            "1.18.0 ",
            "1.18.0@sha256:0",
            "1.18.0-rc.1; rm",
        ] {
            assert!(Release::parse(bad).is_err(), "{bad}");
        }
    }
}
