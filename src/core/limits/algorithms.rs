//! The one table that lists the algorithms.
//!
//! To add an algorithm, write its file and add its row here.

/// The table of the algorithms. `algorithms!(make)` gives its rows to the macro `make`: the name, the
/// type of the rule, and the tag of its states in payloads.
macro_rules! algorithms {
    ($make:ident) => {
        $make! {
            /// At most `count` units in any interval of `period`.
            Sliding(super::sliding::Sliding) = 1,
            /// A bucket that refills continuously.
            Bucket(super::bucket::Bucket) = 2,
            /// At most `count` units in each window.
            Fixed(super::fixed::Fixed) = 3,
            /// At most `count` reservations held at a time.
            Concurrent(super::concurrent::Concurrent) = 4,
            /// `CL.THROTTLE`, counted as redis-cell does.
            Throttle(super::throttle::Throttle) = 5,
        }
    };
}

pub(super) use algorithms;
