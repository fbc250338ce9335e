//! Opens the records of one direction, in place.

use std::ops::Range;

use aes::{Aes128, Aes256};
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockModeDecrypt as _, KeyIvInit as _};
use ccm::aead::{AeadInOut, KeyInit};
use ccm::consts::{U8, U12, U16};
use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;

use super::derive;
use super::keylog::Secret;
use super::record::APPLICATION_DATA;
use super::suites::{Bulk, Hash, Suite};

/// A record that can't be opened: damaged, or sealed with other keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damaged;

/// What an opened record holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opened {
    /// The type of the content.
    pub(super) kind: u8,
    /// Where in the record's body it stands.
    pub(super) content: Range<usize>,
}

/// The keys of one direction, and how many records they have opened.
pub(super) struct Opener {
    cipher: Cipher,
    form: Form,
    sequence: u64,
}

/// What differs between versions and suites around the same ciphers.
enum Form {
    /// TLS 1.3: the header is authenticated, the content's type is encrypted.
    Inner { iv: [u8; 12] },
    /// TLS 1.2, the nonce follows from the record's number.
    Implicit { iv: [u8; 12] },
    /// TLS 1.2, half of the nonce is sent.
    Explicit { salt: [u8; 4] },
    /// TLS 1.2 with CBC and HMAC.
    Mac { key: hmac::Key, length: usize, encrypt_then_mac: bool },
}

#[expect(clippy::large_enum_variant, reason = "an opener is in a box as a whole")]
enum Cipher {
    Ring(LessSafeKey),
    Ccm(Box<dyn InPlace>),
    Aes128Cbc([u8; 16]),
    Aes256Cbc([u8; 32]),
}

/// CCM with any key and tag.
trait InPlace: Send + Sync {
    fn tag(&self) -> usize;
    fn open(&self, nonce: &[u8; 12], aad: &[u8], text: &mut [u8], tag: &[u8]) -> Option<()>;
}

struct Ccm<C>(C, usize);

impl<C: AeadInOut<NonceSize = U12> + Send + Sync> InPlace for Ccm<C> {
    fn tag(&self) -> usize {
        self.1
    }

    fn open(&self, nonce: &[u8; 12], aad: &[u8], text: &mut [u8], tag: &[u8]) -> Option<()> {
        let tag = tag.try_into().ok()?;
        self.0.decrypt_inout_detached(nonce.into(), aad, text.into(), tag).ok()
    }
}

fn ccm<C>(key: &[u8], tag: usize) -> Option<Cipher>
where
    C: AeadInOut<NonceSize = U12> + KeyInit + Send + Sync + 'static,
{
    Some(Cipher::Ccm(Box::new(Ccm(C::new_from_slice(key).ok()?, tag))))
}

impl Cipher {
    fn new(bulk: Bulk, key: &[u8]) -> Option<Self> {
        let algorithm = match bulk {
            Bulk::Gcm(16) => &aead::AES_128_GCM,
            Bulk::Gcm(_) => &aead::AES_256_GCM,
            Bulk::ChaCha => &aead::CHACHA20_POLY1305,
            Bulk::Ccm(16, 8) => return ccm::<ccm::Ccm<Aes128, U8, U12>>(key, 8),
            Bulk::Ccm(16, _) => return ccm::<ccm::Ccm<Aes128, U16, U12>>(key, 16),
            Bulk::Ccm(_, 8) => return ccm::<ccm::Ccm<Aes256, U8, U12>>(key, 8),
            Bulk::Ccm(..) => return ccm::<ccm::Ccm<Aes256, U16, U12>>(key, 16),
            Bulk::Cbc(16, _) => return Some(Self::Aes128Cbc(key.try_into().ok()?)),
            Bulk::Cbc(..) => return Some(Self::Aes256Cbc(key.try_into().ok()?)),
        };
        Some(Self::Ring(LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?)))
    }

    fn tag(&self) -> usize {
        match self {
            Self::Ring(key) => key.algorithm().tag_len(),
            Self::Ccm(ccm) => ccm.tag(),
            Self::Aes128Cbc(_) | Self::Aes256Cbc(_) => 0,
        }
    }

    /// Opens text with its tag behind it; gives the length of the text.
    fn open(&self, nonce: [u8; 12], aad: &[u8], sealed: &mut [u8]) -> Option<usize> {
        let length = sealed.len().checked_sub(self.tag())?;
        match self {
            Self::Ring(key) => {
                let nonce = Nonce::assume_unique_for_key(nonce);
                key.open_in_place(nonce, Aad::from(aad), sealed).ok()?;
            }
            Self::Ccm(ccm) => {
                let (text, tag) = sealed.split_at_mut(length);
                ccm.open(&nonce, aad, text, tag)?;
            }
            Self::Aes128Cbc(_) | Self::Aes256Cbc(_) => return None,
        }
        Some(length)
    }

    /// Decrypts whole blocks of CBC.
    fn decrypt(&self, iv: &[u8], blocks: &mut [u8]) -> Option<()> {
        match self {
            Self::Aes128Cbc(key) => {
                let cbc = cbc::Decryptor::<Aes128>::new_from_slices(key, iv).ok()?;
                cbc.decrypt_padded::<NoPadding>(blocks).ok()?;
            }
            Self::Aes256Cbc(key) => {
                let cbc = cbc::Decryptor::<Aes256>::new_from_slices(key, iv).ok()?;
                cbc.decrypt_padded::<NoPadding>(blocks).ok()?;
            }
            Self::Ring(_) | Self::Ccm(_) => return None,
        }
        Some(())
    }
}

fn key_length(bulk: Bulk) -> usize {
    match bulk {
        Bulk::Gcm(key) | Bulk::Ccm(key, _) | Bulk::Cbc(key, _) => key,
        Bulk::ChaCha => 32,
    }
}

/// What an IV of 12 bytes becomes for a record.
fn nonce(mut iv: [u8; 12], sequence: u64) -> [u8; 12] {
    for (byte, number) in iv[4..].iter_mut().zip(sequence.to_be_bytes()) {
        *byte ^= number;
    }
    iv
}

impl Opener {
    /// For a traffic secret of TLS 1.3. `None` when suite and secret do not fit each other.
    pub(super) fn tls13(suite: Suite, secret: &Secret) -> Option<Self> {
        let bulk = suite.bulk().filter(|bulk| !matches!(bulk, Bulk::Cbc(..)))?;
        let hash = suite.derivation();
        let mut key = [0; 32];
        let key = key.get_mut(..key_length(bulk))?;
        derive::expand(hash, secret, "key", key)?;
        let mut iv = [0; 12];
        derive::expand(hash, secret, "iv", &mut iv)?;
        let cipher = Cipher::new(bulk, key)?;
        Some(Self { cipher, form: Form::Inner { iv }, sequence: 0 })
    }

    /// For the master secret of TLS 1.2: the client's direction and the server's.
    pub(super) fn tls12(
        suite: Suite,
        master: &Secret,
        client_random: &[u8; 32],
        server_random: &[u8; 32],
        encrypt_then_mac: bool,
    ) -> Option<[Self; 2]> {
        let bulk = suite.bulk()?;
        let (mac, iv) = match bulk {
            Bulk::Gcm(_) | Bulk::Ccm(..) => (0, 4),
            Bulk::ChaCha => (0, 12),
            Bulk::Cbc(_, hash) => (hash.length(), 0), // the IV is sent
        };
        let key = key_length(bulk);
        let mut block = [0; 2 * (48 + 32 + 12)];
        let block = block.get_mut(..2 * (mac + key + iv))?;
        let seeds = [&server_random[..], &client_random[..]];
        derive::prf(suite.derivation(), master, "key expansion", seeds, block);
        let (macs, block) = block.split_at(2 * mac);
        let (keys, ivs) = block.split_at(2 * key);
        let opener = |side: usize| {
            let of_side = |block: &[u8], length: usize| {
                block.get(side * length..(side + 1) * length).map(<[u8]>::to_vec)
            };
            let (mac, key, iv) = (of_side(macs, mac)?, of_side(keys, key)?, of_side(ivs, iv)?);
            let form = match bulk {
                Bulk::Gcm(_) | Bulk::Ccm(..) => Form::Explicit { salt: iv.try_into().ok()? },
                Bulk::ChaCha => Form::Implicit { iv: iv.try_into().ok()? },
                Bulk::Cbc(_, hash) => mac_form(hash, &mac, encrypt_then_mac),
            };
            Some(Self { cipher: Cipher::new(bulk, &key)?, form, sequence: 0 })
        };
        Some([opener(0)?, opener(1)?])
    }

    /// Opens the next record. After a failure nothing further can be opened.
    pub(super) fn open(&mut self, header: [u8; 5], body: &mut [u8]) -> Result<Opened, Damaged> {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        let result = match &self.form {
            Form::Inner { iv } => self.inner(header, nonce(*iv, sequence), body),
            Form::Implicit { iv } => self.outer(header, nonce(*iv, sequence), 0, body),
            Form::Explicit { salt } => match body.first_chunk::<8>() {
                Some(sent) => {
                    let mut nonce = [0; 12];
                    nonce[..4].copy_from_slice(salt);
                    nonce[4..].copy_from_slice(sent);
                    self.outer(header, nonce, 8, body)
                }
                None => None,
            },
            Form::Mac { key, length, encrypt_then_mac: true } => {
                self.mac_first(header, key, *length, body)
            }
            Form::Mac { key, length, encrypt_then_mac: false } => {
                self.mac_inside(header, key, *length, body)
            }
        };
        result.ok_or(Damaged)
    }

    fn inner(&self, header: [u8; 5], nonce: [u8; 12], body: &mut [u8]) -> Option<Opened> {
        if header[0] != APPLICATION_DATA {
            return None;
        }
        let length = self.cipher.open(nonce, &header, body)?;
        // The type is the last byte that is not padding.
        let body = body.get(..length)?;
        let last = body.iter().rposition(|byte| *byte != 0)?;
        Some(Opened { kind: *body.get(last)?, content: 0..last })
    }

    fn outer(
        &self,
        header: [u8; 5],
        nonce: [u8; 12],
        skip: usize,
        body: &mut [u8],
    ) -> Option<Opened> {
        let length = body.len().checked_sub(skip + self.cipher.tag())?;
        let aad = self.authenticated(header, length);
        self.cipher.open(nonce, &aad, body.get_mut(skip..)?)?;
        Some(Opened { kind: header[0], content: skip..skip + length })
    }

    /// What TLS 1.2 authenticates besides the content: the record's number, and its header with
    /// another length. To be asked for after the number was advanced.
    fn authenticated(&self, header: [u8; 5], length: usize) -> [u8; 13] {
        let mut bytes = [0; 13];
        bytes[..8].copy_from_slice(&self.sequence.wrapping_sub(1).to_be_bytes());
        bytes[8..11].copy_from_slice(&header[..3]);
        bytes[11..].copy_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
        bytes
    }

    /// The MAC over the ciphertext (RFC 7366).
    fn mac_first(
        &self,
        header: [u8; 5],
        key: &hmac::Key,
        length: usize,
        body: &mut [u8],
    ) -> Option<Opened> {
        let (sealed, mac) = body.split_at_mut_checked(body.len().checked_sub(length)?)?;
        verify(key, &[&self.authenticated(header, sealed.len()), sealed], mac)?;
        let (iv, blocks) = sealed.split_at_mut_checked(16)?;
        self.cipher.decrypt(iv, blocks)?;
        Some(Opened { kind: header[0], content: 16..16 + unpadded(blocks)? })
    }

    /// The MAC between content and padding (RFC 5246, 6.2.3.2).
    fn mac_inside(
        &self,
        header: [u8; 5],
        key: &hmac::Key,
        length: usize,
        body: &mut [u8],
    ) -> Option<Opened> {
        let (iv, blocks) = body.split_at_mut_checked(16)?;
        self.cipher.decrypt(iv, blocks)?;
        let end = unpadded(blocks)?.checked_sub(length)?;
        let (content, rest) = blocks.split_at(end);
        verify(key, &[&self.authenticated(header, end), content], rest.get(..length)?)?;
        Some(Opened { kind: header[0], content: 16..16 + end })
    }
}

fn mac_form(hash: Hash, key: &[u8], encrypt_then_mac: bool) -> Form {
    let key = hmac::Key::new(derive::hmac_algorithm(hash), key);
    Form::Mac { key, length: hash.length(), encrypt_then_mac }
}

fn verify(key: &hmac::Key, parts: &[&[u8]], mac: &[u8]) -> Option<()> {
    let mut context = hmac::Context::with_key(key);
    parts.iter().for_each(|part| context.update(part));
    (context.sign().as_ref() == mac).then_some(())
}

/// The length without CBC's padding: its last byte tells how many of that value come before it.
fn unpadded(blocks: &[u8]) -> Option<usize> {
    let padding = *blocks.last()?;
    let end = blocks.len().checked_sub(usize::from(padding) + 1)?;
    blocks.get(end..)?.iter().all(|byte| *byte == padding).then_some(end)
}
