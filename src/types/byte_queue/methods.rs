//! The methods that a [`ByteQueue`](super::ByteQueue) and a `MessageQueue` share.

/// The methods that tell a queue's size and end its use; `$frames` is the field with the queue's `Frames`.
///
/// The caller writes the example of `close`.
macro_rules! frame_methods {
    ($frames:tt; $(#[$close:meta])* close;) => {
        /// Returns the length in bytes of the longest message that fits: the capacity less 8.
        #[must_use]
        pub fn max_message_len(&self) -> usize {
            self.$frames.max_message_len()
        }

        /// Returns how many bytes of messages the queue can hold. Each message takes 8 bytes more than its
        /// length, rounded up to a multiple of 8.
        #[must_use]
        pub fn capacity(&self) -> usize {
            self.$frames.capacity()
        }

        /// Returns how many bytes of the capacity the messages in the queue take. Others may change the
        /// number before you look at it. (The queue does not count its messages.)
        #[must_use]
        pub fn used(&self) -> usize {
            self.$frames.used()
        }

        /// Returns whether the queue has no message. The caution of [`used`](Self::used) applies.
        #[must_use]
        pub fn is_empty(&self) -> bool {
            self.used() == 0
        }

        /// Closes the queue: puts fail from now on, gets fail once they have drained the queue, and all
        /// sleepers wake. A close takes no lock, and so works even if a process is stuck. A second close does
        /// nothing.
        ///
        $(#[$close])*
        pub fn close(&self) {
            self.$frames.close();
        }

        /// Returns whether somebody closed the queue.
        #[must_use]
        pub fn is_closed(&self) -> bool {
            self.$frames.is_closed()
        }
    };
}

pub(in crate::types) use frame_methods;
