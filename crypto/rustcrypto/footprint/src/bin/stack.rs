//! An image that QEMU runs: it says how much stack each operation takes, and fails where one fails.
//!
//! The runtime fills the stack with a pattern (feature `paint-stack` of `cortex-m-rt`); whatever still holds it has not been
//! used.
#![no_std]
#![no_main]

use core::convert::Infallible;
use core::panic::PanicInfo;
use core::ptr::addr_of;

use cortex_m::register::msp;
use cortex_m_rt::{STACK_PAINT_VALUE, entry};
use cortex_m_semihosting::debug::{self, EXIT_FAILURE, EXIT_SUCCESS};
use cortex_m_semihosting::hprintln;
use ipsec_core::crypto::{
    CryptoError, Encr, Group, KeyExchange, MAX_SIGNATURE_LEN, Mac, PacketCipher, Prf, Provider,
    SignatureVerifier, Signer, Suite, Work,
};
use ipsec_rustcrypto::{RustCrypto, RustCryptoVerifier, SoftwareKey};
use rand_core::{TryCryptoRng, TryRng};

type Cipher = <RustCrypto as Provider>::Cipher;
type ThisMac = <RustCrypto as Provider>::Mac;
type ThisPrf = <RustCrypto as Provider>::Prf;
type Kx = <RustCrypto as Provider>::Kx;

unsafe extern "C" {
    /// The lowest address of the stack, by the linker script of `cortex-m-rt`.
    static _stack_end: u32;
}

/// More than the frames of the functions here.
const MARGIN: usize = 256;

/// Runs `body`, and gives what came of it with the bytes of stack that it used below its caller.
#[inline(never)]
fn measure<T>(body: impl FnOnce() -> T) -> (T, usize) {
    let here = msp::read() as usize;
    let low = addr_of!(_stack_end).cast_mut();
    for i in 0..(here - MARGIN - low as usize) / 4 {
        // SAFETY: the region belongs to the stack, and lies below the frames in use. No interrupt is enabled.
        unsafe { low.add(i).write_volatile(STACK_PAINT_VALUE) };
    }
    let result = body();
    // SAFETY: as above, and only read.
    let untouched =
        (0..).take_while(|&i| unsafe { low.add(i).read_volatile() } == STACK_PAINT_VALUE).count();
    (result, here - low as usize - 4 * untouched)
}

/// Private values that are valid in every group.
struct Counting(u8);

impl TryRng for Counting {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(1)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(1)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for byte in out {
            self.0 = self.0.wrapping_mul(5).wrapping_add(1);
            *byte = self.0;
        }
        Ok(())
    }
}

impl TryCryptoRng for Counting {}

/// What preparing the keys of `suite` takes, and what sealing and opening take.
fn packet(suite: Suite) -> Result<(usize, usize), CryptoError> {
    let shape = suite.shape().ok_or(CryptoError::Unsupported)?;
    let (key, mut text, mut icv) = ([7; 64], [1; 512], [0; 32]);
    let text = &mut text;
    let icv = icv.get_mut(..shape.icv_len).ok_or(CryptoError::Length)?;
    let encr_key = key.get(..shape.key_len).ok_or(CryptoError::Length)?;
    let integ_key = key.get(..shape.integ_key_len).ok_or(CryptoError::Length)?;
    let nonce = key.get(..shape.nonce_len()).ok_or(CryptoError::Length)?;
    let mut slot = None;
    let (result, new) =
        measure(|| Cipher::new(suite, encr_key, integ_key).map(|cipher| slot = Some(cipher)));
    result?;
    let cipher = slot.as_ref().ok_or(CryptoError::Failed)?;
    let mut work = Work { nonce, head: &key[..8], text, tail: &[], icv };
    let (sealed, seal) = measure(|| cipher.seal(work.reborrow()));
    sealed?;
    let (opened, open) = measure(|| cipher.open(work));
    opened.map(|()| (new, seal.max(open)))
}

/// The deepest of all suites with one encryption algorithm.
fn packets(encr: Encr) -> Result<(), CryptoError> {
    let (mut new, mut run) = (0, 0);
    for suite in RustCrypto::SUITES.iter().filter(|suite| suite.encr == encr) {
        let (this_new, this_run) = packet(*suite)?;
        (new, run) = (new.max(this_new), run.max(this_run));
    }
    if run != 0 {
        hprintln!("{:>7} {} ({} to prepare the keys)", run, encr, new);
    }
    Ok(())
}

#[inline(never)]
fn macs() -> Result<(), CryptoError> {
    let (key, mut icv) = ([7; 64], [0; 64]);
    for integ in RustCrypto::INTEGS {
        let (Some(len), Some(icv_len)) = (integ.key_len(), integ.icv_len()) else { continue };
        let nonce = if (9..=11).contains(&integ.0) { &key[..12] } else { &[] };
        let mac = ThisMac::new(*integ, &key[..len])?;
        mac.sign(nonce, &[&key, &key], &mut icv[..icv_len])?;
        mac.verify(nonce, &[&key, &key], &icv[..icv_len])?;
    }
    for id in RustCrypto::PRFS {
        let prf = ThisPrf::new(*id, &key)?;
        prf.compute(&[&key, &key], &mut icv[..id.output_len().unwrap_or(0)])?;
    }
    Ok(())
}

/// Public values are not counted: they lie in buffers of the caller.
fn exchange(group: Group, ours: &mut [u8], theirs: &mut [u8]) -> Result<bool, CryptoError> {
    let (_, len) = Kx::start(group, &mut Counting(9), theirs)?;
    let rng = &mut Counting(3);
    let (respond, respond_stack) =
        measure(|| Kx::respond(group, rng, &theirs[..len], ours).map(|(_, len)| len));
    let len = respond?;
    let (same, finish_stack) = measure(|| {
        let (kx, _) = Kx::start(group, &mut Counting(9), theirs)?;
        kx.finish(&ours[..len]).map(|secret| secret.as_ref().iter().any(|&byte| byte != 0))
    });
    hprintln!("{:>7} {}", respond_stack.max(finish_stack), group);
    same
}

fn run() -> Result<(), CryptoError> {
    for encr in (0..64).map(Encr) {
        packets(encr)?;
    }
    let (result, stack) = measure(macs);
    result?;
    hprintln!("{:>7} integrity and pseudo-random functions", stack);
    let (mut ours, mut theirs) = ([0; 1568], [0; 1568]);
    for group in RustCrypto::GROUPS {
        if !exchange(*group, &mut ours, &mut theirs)? {
            return Err(CryptoError::Failed);
        }
    }
    include_str!("../../../tests/vectors/keys.txt").lines().try_for_each(signatures)
}

/// One line of the keys of the tests: the deepest of all schemes that the key has. Keys that are there to be refused are
/// passed over.
#[inline(never)]
fn signatures(row: &str) -> Result<(), CryptoError> {
    let mut fields = row.split(' ');
    let mut field = || fields.next().ok_or(CryptoError::Failed);
    let (name, pkcs8, _, spki) = (field()?, field()?, field()?, field()?);
    let (mut pkcs8_bytes, mut spki_bytes) = ([0; 2500], [0; 600]);
    let pkcs8 = bytes(pkcs8, &mut pkcs8_bytes).ok_or(CryptoError::Length)?;
    let spki = bytes(spki, &mut spki_bytes).ok_or(CryptoError::Length)?;
    let mut slot = None;
    let (result, read) = measure(|| SoftwareKey::from_der(pkcs8).map(|key| slot = Some(key)));
    if let Err(error) = result {
        return if error == CryptoError::Key { Ok(()) } else { Err(error) };
    }
    let key = slot.as_ref().ok_or(CryptoError::Failed)?;
    let (mut sign, mut verify) = (0, 0);
    for scheme in key.schemes() {
        let mut signature = [0; MAX_SIGNATURE_LEN];
        let (made, stack) =
            measure(|| key.sign(*scheme, &mut Counting(5), &[b"text"], &mut signature));
        sign = sign.max(stack);
        let signature = signature.get(..made?).ok_or(CryptoError::Length)?;
        let (verified, stack) =
            measure(|| RustCryptoVerifier::new().verify(*scheme, spki, &[b"text"], signature));
        verified?;
        verify = verify.max(stack);
    }
    hprintln!("{:>7} {} verified, {} signed, {} to read the key", verify, name, sign, read);
    Ok(())
}

/// The bytes of a hexadecimal string.
fn bytes<'a>(hex: &str, out: &'a mut [u8]) -> Option<&'a [u8]> {
    let out = out.get_mut(..hex.len() / 2)?;
    for (byte, digits) in out.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(out)
}

#[entry]
fn main() -> ! {
    let result = run();
    if let Err(error) = &result {
        hprintln!("FAILED: {}", error);
    }
    debug::exit(if result.is_ok() { EXIT_SUCCESS } else { EXIT_FAILURE });
    loop {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    debug::exit(EXIT_FAILURE);
    loop {
        core::hint::spin_loop();
    }
}
