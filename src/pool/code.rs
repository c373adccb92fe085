//! Encoding and decoding, and the function that a worker runs for a task's types.

use super::payload::Payload;
use super::wire::MessageKind;
use crate::types;
use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ptr::with_exposed_provenance;

/// A growing message, to which postcard writes.
struct Onto<'a>(&'a mut Vec<u8>);

impl Flavor for Onto<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Returns why something could not be encoded or decoded. A handle knows that better than postcard.
fn reason(error: postcard::Error) -> String {
    types::take_reason().unwrap_or_else(|| error.to_string())
}

/// Appends the encoding of `item`.
pub(super) fn encode<T: Serialize>(item: &T, message: &mut Vec<u8>) -> Result<(), String> {
    types::take_reason(); // forget the reason of an earlier error
    postcard::serialize_with_flavor(item, Onto(message)).map_err(reason)
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    types::take_reason(); // forget the reason of an earlier error
    match postcard::take_from_bytes(bytes) {
        Ok((item, [])) => Ok(item),
        Ok((_, rest)) => Err(format!(
            "expected an item of {} bytes, found {} more",
            bytes.len() - rest.len(),
            rest.len()
        )),
        Err(error) => Err(reason(error)),
    }
}

/// Decodes the argument, runs the function at an address, and appends the result, or a text that says why
/// there is no result.
pub(super) type Runner = fn(usize, Payload<'_>, &mut Vec<u8>) -> MessageKind;

/// The [`Runner`] for functions of these types. `function` must be the address of an `fn(A) -> R` of this
/// program.
pub(super) fn run_as<A, R>(
    function: usize,
    argument: Payload<'_>,
    message: &mut Vec<u8>,
) -> MessageKind
where
    A: DeserializeOwned,
    R: Serialize,
{
    let start = message.len();
    // The bytes are dropped before the function runs.
    let argument = match argument.read(decode::<A>) {
        Ok(argument) => argument,
        Err(why) => {
            message.extend_from_slice(why.as_bytes());
            return MessageKind::Decode;
        }
    };
    let function = with_exposed_provenance::<()>(function);
    // SAFETY: the caller's part of this pool paired this very function with the address of an `fn(A) -> R`
    // (`Task::start`), in the code with which this process was forked.
    let function = unsafe { std::mem::transmute::<*const (), fn(A) -> R>(function) };
    let result = function(argument);
    match encode(&result, message) {
        Ok(()) => MessageKind::Value,
        Err(why) => {
            message.truncate(start);
            message.extend_from_slice(why.as_bytes());
            MessageKind::Encode
        }
    }
}
