//! Keys from secrets: the pseudorandom function of TLS 1.2 (RFC 5246, 5) and the labels of TLS 1.3
//! (RFC 8446, 7.1), over the HMAC and HKDF of *ring*.

use ring::{hkdf, hmac};

use super::keylog::Secret;
use super::suites::Hash;

/// The output of the pseudorandom function, as long as `out`.
pub(super) fn prf(hash: Hash, secret: &Secret, label: &str, seeds: [&[u8]; 2], out: &mut [u8]) {
    let key = hmac::Key::new(hmac_algorithm(hash), secret.bytes());
    let sign = |parts: &[&[u8]]| {
        let mut context = hmac::Context::with_key(&key);
        parts.iter().for_each(|part| context.update(part));
        context.sign()
    };
    let [first, second] = seeds;
    let mut a = sign(&[label.as_bytes(), first, second]);
    for piece in out.chunks_mut(hash.length()) {
        let block = sign(&[a.as_ref(), label.as_bytes(), first, second]);
        piece.iter_mut().zip(block.as_ref()).for_each(|(to, byte)| *to = *byte);
        a = sign(&[a.as_ref()]);
    }
}

pub(super) fn hmac_algorithm(hash: Hash) -> hmac::Algorithm {
    match hash {
        Hash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Hash::Sha256 => hmac::HMAC_SHA256,
        Hash::Sha384 => hmac::HMAC_SHA384,
    }
}

/// So many bytes are wanted.
struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label with an empty context; `None` when the secret is not one of this hash.
pub(super) fn expand(hash: Hash, secret: &Secret, label: &str, out: &mut [u8]) -> Option<()> {
    let algorithm = match hash {
        Hash::Sha384 => hkdf::HKDF_SHA384,
        Hash::Sha1 | Hash::Sha256 => hkdf::HKDF_SHA256,
    };
    if secret.bytes().len() != hash.length() {
        return None;
    }
    let secret = hkdf::Prk::new_less_safe(algorithm, secret.bytes());
    let length = u16::try_from(out.len()).ok()?.to_be_bytes();
    let label_length = [u8::try_from(6 + label.len()).ok()?];
    let info: [&[u8]; 5] = [&length, &label_length, b"tls13 ", label.as_bytes(), &[0]];
    secret.expand(&info, Length(out.len())).ok()?.fill(out).ok()
}

/// The secret after a key update.
pub(super) fn updated(hash: Hash, secret: &Secret) -> Option<Secret> {
    let mut next = [0; 48];
    let next = next.get_mut(..hash.length())?;
    expand(hash, secret, "traffic upd", next)?;
    Secret::new(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<_> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).expect("it is ASCII"));
        pairs.map(|pair| u8::from_str_radix(pair, 16).expect("it is hexadecimal")).collect()
    }

    /// The vector that the TLS working group's list gave for the function with SHA-256.
    #[test]
    fn the_function_of_tls_1_2_gives_the_known_output() {
        let secret = bytes("9b be 43 6b a9 40 f0 17 b1 76 52 84 9a 71 db 35");
        let seed = bytes("a0 ba 9f 93 6c da 31 18 27 a6 f7 96 ff d5 19 8c");
        let secret = Secret::new(&secret).expect("it is short");
        let mut out = [0; 100];
        prf(Hash::Sha256, &secret, "test label", [&seed[..7], &seed[7..]], &mut out);
        let wanted = "e3 f2 29 ba 72 7b e1 7b 8d 12 26 20 55 7c d4 53 c2 aa b2 1d 07 c3 d4 95
            32 9b 52 d4 e6 1e db 5a 6b 30 17 91 e9 0d 35 c9 c9 a4 6b 4e 14 ba f9 af 0f a0 22 f7
            07 7d ef 17 ab fd 37 97 c0 56 4b ab 4f bc 91 66 6e 9d ef 9b 97 fc e3 4f 79 67 89 ba
            a4 80 82 d1 22 ee 42 c5 a7 2e 5a 51 10 ff f7 01 87 34 7b 66";
        assert_eq!(out[..], bytes(wanted));
    }

    /// RFC 8448, 3: the server's handshake keys.
    #[test]
    fn the_labels_of_tls_1_3_give_the_known_output() {
        let secret = "b6 7b 7d 69 0c c1 6c 4e 75 e5 42 13 cb 2d 37 b4 e9 c9 12 bc de d9 10 5d
            42 be fd 59 d3 91 ad 38";
        let secret = Secret::new(&bytes(secret)).expect("it is short");
        let mut key = [0; 16];
        expand(Hash::Sha256, &secret, "key", &mut key).expect("the lengths fit");
        assert_eq!(key[..], bytes("3f ce 51 60 09 c2 17 27 d0 f2 e4 e8 6e e4 03 bc"));
        let mut iv = [0; 12];
        expand(Hash::Sha256, &secret, "iv", &mut iv).expect("the lengths fit");
        assert_eq!(iv[..], bytes("5d 31 3e b2 67 12 76 ee 13 00 0b 30"));
        assert_eq!(expand(Hash::Sha384, &secret, "iv", &mut iv), None);
    }
}
