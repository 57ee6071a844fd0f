//! Which packets get lost on the wire, after the queue.

use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;

/// What loses packets.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Loss {
    /// Nothing.
    #[default]
    None,
    /// Each packet with this probability, whatever happened to the others.
    Random(f64),
    /// Bursts.
    Bursts(Burst),
    /// The packets with payload that have these numbers, counted from 0: for losses at a known place.
    Numbers(Vec<u64>),
}

/// The model of E. N. Gilbert ("Capacity of a Burst-Noise Channel", 1960) and E. O. Elliott (1963): a good and a bad
/// state, with a chance to change at each packet.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Burst {
    /// Probability that a good path turns bad.
    pub begins: f64,
    /// Probability that a bad path turns good: a burst lasts 1 / `ends` packets on average.
    pub ends: f64,
    /// Probability that a packet is lost in the bad state; in the good one none is.
    pub loss: f64,
}

/// A loss model and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Losses {
    plan: Loss,
    bad: bool,
    seen: u64,
}

impl Losses {
    pub(super) fn new(plan: Loss) -> Self {
        Self { plan, bad: false, seen: 0 }
    }

    /// Whether the next packet, of `payload` bytes, is lost.
    pub(super) fn on_packet(&mut self, payload: u16, rng: &mut Xoshiro256PlusPlus) -> bool {
        match &self.plan {
            Loss::None => false,
            Loss::Random(probability) => rng.random::<f64>() < *probability,
            Loss::Bursts(burst) => {
                let turn = if self.bad { burst.ends } else { burst.begins };
                self.bad ^= rng.random::<f64>() < turn;
                self.bad && rng.random::<f64>() < burst.loss
            }
            Loss::Numbers(numbers) => {
                let number = self.seen;
                self.seen += u64::from(payload > 0);
                payload > 0 && numbers.contains(&number)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    /// What becomes of `count` packets: `true` is lost.
    fn fates(plan: Loss, count: usize) -> Vec<bool> {
        let (mut losses, mut rng) = (Losses::new(plan), Xoshiro256PlusPlus::seed_from_u64(1));
        (0..count).map(|_| losses.on_packet(1000, &mut rng)).collect()
    }

    #[test]
    fn random_loss_is_as_frequent_as_it_should_be() {
        let lost = fates(Loss::Random(0.03), 100_000).iter().filter(|lost| **lost).count();
        assert!((2_800..3_200).contains(&lost), "{lost}");
        assert!(!fates(Loss::None, 1000).contains(&true));
    }

    #[test]
    fn bursts_are_as_long_and_as_frequent_as_they_should_be() {
        let fates = fates(Loss::Bursts(Burst { begins: 0.01, ends: 0.25, loss: 1.0 }), 100_000);
        let lost = fates.iter().filter(|lost| **lost).count();
        let bursts = fates.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        assert!((3_500..4_200).contains(&lost), "0.01 / 0.26 of all is 3,846: {lost}");
        let mean = lost as f64 / bursts as f64;
        assert!((3.7..4.3).contains(&mean), "a burst has 4 packets: {mean}");
    }

    #[test]
    fn numbered_losses_count_packets_with_payload_only() {
        let (mut losses, mut rng) = (Losses::new(Loss::Numbers(vec![1])), Xoshiro256PlusPlus::seed_from_u64(1));
        let fates = [0, 100, 0, 100, 0, 100].map(|payload| losses.on_packet(payload, &mut rng));
        assert_eq!(fates, [false, false, false, true, false, false]);
    }
}
