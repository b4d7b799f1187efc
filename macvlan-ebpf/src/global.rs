//! The context as global functions take it: the verifier judges each of these once, by its signature.

use aya_ebpf::programs::TcContext;

/// A packet buffer. The verifier knows it by its name (`btf_is_prog_ctx_type` in kernel/bpf/btf.c) and
/// does not look inside. Nor must there be anything: LLVM numbers the types that a field points to by
/// where they happen to lie in memory, and each build would give another object.
#[repr(C)]
pub struct __sk_buff {
    len: u32,
}

/// What a global function is called with.
#[inline(always)]
pub fn skb_of(ctx: &TcContext) -> *mut __sk_buff {
    ctx.skb.skb.cast()
}

/// The context in a global function.
#[inline(always)]
pub fn context_of(skb: *mut __sk_buff) -> TcContext {
    TcContext::new(skb.cast())
}
