//! Encoding and decoding, and the function with which a worker runs a task of certain types.

use super::wire::MessageKind;
use crate::types;
use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::ptr::with_exposed_provenance;

/// Appends to a message what postcard encodes.
struct MessageWriter<'a>(&'a mut Vec<u8>);

impl Flavor for MessageWriter<'_> {
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

/// Returns a text that says why encoding or decoding failed. If a handle refused, the handle's reason says
/// more than postcard's error.
fn reason(error: postcard::Error) -> String {
    types::take_reason().unwrap_or_else(|| error.to_string())
}

/// Appends the encoded `item` to the message.
pub(super) fn encode<T: Serialize>(item: &T, message: &mut Vec<u8>) -> Result<(), String> {
    types::take_reason(); // forget the reason of an earlier error
    postcard::serialize_with_flavor(item, MessageWriter(message)).map_err(reason)
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

/// Decodes the argument, runs the function at the given address, and appends the result to the message, or a
/// text that says why the task has no result.
pub(super) type Runner = fn(usize, Cow<'_, [u8]>, &mut Vec<u8>) -> MessageKind;

/// The [`Runner`] for functions from `A` to `R`. `function` must be the address of an `fn(A) -> R` of this
/// program.
pub(super) fn run_typed<A, R>(
    function: usize,
    encoded: Cow<'_, [u8]>,
    message: &mut Vec<u8>,
) -> MessageKind
where
    A: DeserializeOwned,
    R: Serialize,
{
    let start = message.len();
    let argument = match decode::<A>(&encoded) {
        Ok(argument) => argument,
        Err(why) => {
            message.extend_from_slice(why.as_bytes());
            return MessageKind::Decode;
        }
    };
    drop(encoded); // the function may need the memory
    let function = with_exposed_provenance::<()>(function);
    // SAFETY: `Task::start` wrote this function's address beside that of an `fn(A) -> R`, and the worker has
    // checked that both lie in code that it inherited.
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
