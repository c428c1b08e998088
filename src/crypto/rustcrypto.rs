//! The provider on RustCrypto.

use super::{
    ActiveKeyExchange, AeadKey, Algorithm, CompletedKeyExchange, CryptoProvider, InvalidKey, InvalidShare, Key,
    NamedGroup, Prk, RsaPrivateKey, RsaUnwrap,
};

/// The provider on RustCrypto.
#[derive(Clone, Copy, Debug)]
pub struct RustCrypto;

impl CryptoProvider for RustCrypto {
    fn name(&self) -> &'static str {
        unimplemented!()
    }
    fn aead(&self, _alg: Algorithm, _key: &Key) -> Box<dyn AeadKey> {
        unimplemented!()
    }
    fn hkdf_extract(&self, _salt: &[u8], _ikm: &[u8]) -> Prk {
        unimplemented!()
    }
    fn hkdf_expand(&self, _prk: &Prk, _info: &[u8], _out: &mut [u8]) {
        unimplemented!()
    }
    fn sha256(&self, _parts: &[&[u8]]) -> [u8; 32] {
        unimplemented!()
    }
    fn rsa_unwrap(&self, _key: &RsaPrivateKey) -> Result<Box<dyn RsaUnwrap>, InvalidKey> {
        unimplemented!()
    }
    fn groups(&self) -> &'static [NamedGroup] {
        unimplemented!()
    }
    fn start_exchange(&self, _group: NamedGroup) -> Option<Box<dyn ActiveKeyExchange>> {
        unimplemented!()
    }
    fn answer_exchange(&self, _group: NamedGroup, _share: &[u8]) -> Result<CompletedKeyExchange, InvalidShare> {
        unimplemented!()
    }
}
