//! [`Element`]: the types that processes may share.

/// A type whose values may lie in shared memory. Such a type is plain bytes, without padding, pointers or
/// lifetimes, and any combination of these bytes is a valid value.
///
/// The trait is implemented for every [`bytemuck::Pod`] type: integers, floats, arrays of them, and your own
/// `#[repr(C)]` structs that derive `Pod`. A type with invalid values, such as a `bool` that is neither 0 nor
/// 1, would not be safe: nothing stops another program from writing such bytes.
///
/// ```
/// use shmkit::bytemuck::{Pod, Zeroable};
///
/// #[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
/// #[bytemuck(crate = "shmkit::bytemuck")]
/// #[repr(C)]
/// struct Job {
///     id: u64,
///     size: u32,
///     priority: u32,
/// }
///
/// # fn main() -> shmkit::Result<()> {
/// let jobs = shmkit::Queue::<Job>::new(16)?;
/// jobs.put(Job { id: 1, size: 2, priority: 3 })?;
/// assert_eq!(jobs.get()?.size, 2);
/// # Ok(())
/// # }
/// ```
///
/// An opener must name the same type as the creator. The type's name without its module path, its size and its
/// alignment are compared, and not its fields, which no Rust program can list. So two programs with
/// different structs of one name and size would read each other's fields as their own, without an error. If
/// your struct may change, give each version a [`schema`](crate::Place::schema).
///
/// A type of size 0, or with an alignment above 4096 bytes, does not compile.
///
/// # If a struct does not compile
///
/// | the compiler says | reason | remedy |
/// |---|---|---|
/// | cannot find `bytemuck` in the crate root; could not find `bytemuck` in the list of imported crates | the derives look for `bytemuck` among your own dependencies | add `#[bytemuck(crate = "shmkit::bytemuck")]` below the derives |
/// | derive(Pod) was applied to a type with padding | the fields leave gaps, whose bytes have no value | order the fields from large to small, and fill each gap by a field such as `unused: [u8; 7]` |
/// | cannot transmute between types of different sizes (`TypeWithoutPadding`) | the same, in the words of older versions of `bytemuck` | the same |
/// | the trait bound `bool: Pod` is not satisfied | a field has a type with invalid values | use a `u8` instead of a `bool` or an `enum` |
/// | the trait bound `Job: Zeroable` is not satisfied | `Pod` alone was derived | derive `Zeroable` too |
/// | Pod requires the type to be `#[repr(C)]` | Rust may order the fields as it likes | add `#[repr(C)]` |
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be shared between processes",
    label = "not plain bytes",
    note = "shared elements are integers, floats, arrays of them, and `#[repr(C)]` structs that derive `bytemuck::Pod`",
    note = "a struct needs these lines: `#[derive(Clone, Copy, shmkit::bytemuck::Pod, shmkit::bytemuck::Zeroable)]`, `#[bytemuck(crate = \"shmkit::bytemuck\")]`, `#[repr(C)]`",
    note = "a struct must have no padding: order its fields from large to small, and fill each gap by a field such as `unused: [u8; 7]`",
    note = "instead of a `bool` or an `enum` use a `u8`; instead of a tuple a `#[repr(C)]` struct",
    note = "instead of a `String` or a `Vec` use a fixed-size array such as `[u8; 64]` and a length"
)]
pub trait Element: bytemuck::Pod {}

#[diagnostic::do_not_recommend]
impl<T: bytemuck::Pod> Element for T {}
