//! The parts that are the same for a [`Producer`](super::Producer) and a [`Consumer`](super::Consumer).

/// The three methods that take a side of a queue, and the parts of an endpoint that both sides share.
///
/// `endpoint! { Producer, "producers'", tail: own_tail, PutError; ... }` defines them for the type `Producer`,
/// whose field `tail` comes from `Ring::own_tail`. The caller writes each method's example and errors. The
/// purposes, which are the same for both sides, stand here.
macro_rules! endpoint {
    (
        $Endpoint:ident, $side:literal, $field:ident: $own:ident, $Error:ident;
        $(#[$take_meta:meta])* $take:ident;
        $(#[$try_take_meta:meta])* $try_take:ident;
        $(#[$take_timeout_meta:meta])* $take_timeout:ident;
    ) => {
        impl<T: Element> Queue<T> {
            #[doc = concat!("Takes the ", $side, " side, which the result owns until it is dropped;")]
            /// waits while others hold the side.
            ///
            $(#[$take_meta])*
            pub fn $take(&self) -> Result<$Endpoint<T>, $Error> {
                $Endpoint::take(self, Wait::FOREVER)
            }

            #[doc = concat!("Takes the ", $side, " side if nobody holds the side now.")]
            ///
            $(#[$try_take_meta])*
            pub fn $try_take(&self) -> Result<$Endpoint<T>, $Error> {
                $Endpoint::take(self, Wait::Try)
            }

            #[doc = concat!("Takes the ", $side, " side; waits for at most `timeout` while others")]
            /// hold the side.
            ///
            $(#[$take_timeout_meta])*
            pub fn $take_timeout(&self, timeout: Duration) -> Result<$Endpoint<T>, $Error> {
                $Endpoint::take(self, Wait::within(timeout))
            }
        }

        impl<T: Element> $Endpoint<T> {
            fn take(queue: &Queue<T>, wait: Wait) -> Result<Self, $Error> {
                let $field = queue.ring().$own(wait)?;
                Ok(Self {
                    queue: queue.clone(),
                    $field,
                })
            }

            #[doc = concat!("Returns the queue whose ", $side, " side this endpoint owns.")]
            #[inline]
            #[must_use]
            pub fn queue(&self) -> &Queue<T> {
                &self.queue
            }

            /// Returns up to `most` positions that belong to this endpoint; waits until there is one.
            #[inline]
            fn claim(&mut self, most: usize, wait: Wait) -> Result<Span, $Error> {
                let span = self.$field.claim(self.queue.ring(), most as u64, wait);
                Ok(span?)
            }
        }

        impl<T: Element> Drop for $Endpoint<T> {
            fn drop(&mut self) {
                self.$field.release(self.queue.ring());
            }
        }

        impl<T: Element> fmt::Debug for $Endpoint<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut debug = f.debug_struct(stringify!($Endpoint));
                debug.field("queue", &self.queue).finish_non_exhaustive()
            }
        }
    };
}

pub(super) use endpoint;
