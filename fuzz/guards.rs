//! libFuzzer aborts on every panic, also on one that a guard around somebody else's reader catches. Without its hook only those
//! abort that nobody catches.

pub fn may_catch() {
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
}
