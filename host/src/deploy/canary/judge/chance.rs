//! How likely something is by chance, where two samples are of one kind: exact, whatever
//! they are distributed like. No normal distribution is assumed of anything that is rare.

/// Terms below this part of the sum so far change nothing any more.
const NEGLIGIBLE: f64 = 1e-9;

/// Whether `less` or fewer of `count` new values lie below the value of rank `rank` among
/// `others`, with at most this probability, where all are of one distribution.
///
/// How many do is distributed beta-binomially, whatever the distribution of the values
/// (the precedence test; Balakrishnan and Ng, 2006, chapter 3).
pub(super) fn so_few_below(less: u64, count: u64, rank: u64, others: u64, most: f64) -> bool {
    let (n, k) = (count as f64, less as f64);
    let (a, b) = (rank as f64, (others - rank + 1) as f64);
    // From here on down every term is smaller than the one before it.
    if k >= n * a / (a + b) {
        return false;
    }
    let first = ln_choose(n, k) + ln_beta(k + a, n - k + b) - ln_beta(a, b);
    at_most(first, most, |step| {
        let k = k - step;
        k / (n - k + 1.0) * (n - k + b) / (k + a - 1.0)
    })
}

/// Whether so many of the `marked` among all `new + old` are among the new, or more, with at
/// most this probability, where it is chance which are (Fisher's exact test).
pub(super) fn so_many_marked(among_new: u64, marked: u64, new: u64, old: u64, most: f64) -> bool {
    let (x, marked, n, m) = (among_new as f64, marked as f64, new as f64, old as f64);
    if x <= marked * n / (n + m) {
        return false;
    }
    let first = ln_choose(n, x) + ln_choose(m, marked - x) - ln_choose(n + m, marked);
    at_most(first, most, |step| {
        let x = x + step;
        ((n - x) * (marked - x) / ((x + 1.0) * (m - marked + x + 1.0))).max(0.0)
    })
}

/// The number of standard deviations that a normally distributed value exceeds with this
/// probability (Abramowitz and Stegun 26.2.23; wrong by less than 0.0005).
pub(super) fn deviations(probability: f64) -> f64 {
    let t = (-2.0 * probability.ln()).sqrt();
    let over = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let under = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    t - over / under
}

/// Whether a sum of falling terms stays within `most`; the ratio of each to the one before
/// it, counted from 0.
fn at_most(ln_first: f64, most: f64, ratio: impl Fn(f64) -> f64) -> bool {
    let mut term = ln_first.exp();
    let (mut sum, mut step) = (term, 0.0);
    while sum <= most && term > sum * NEGLIGIBLE {
        term *= ratio(step);
        sum += term;
        step += 1.0;
    }
    sum <= most
}

fn ln_choose(n: f64, k: f64) -> f64 {
    ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0)
}

fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// Of 1 and more (Stirling's series, from 10 on).
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut product) = (x, 1.0);
    while x < 10.0 {
        product *= x;
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    let series =
        (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0))) / x;
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series - f64::ln(product)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the least probability that is enough is this.
    fn is(probability: f64, test: impl Fn(f64) -> bool) {
        assert!(!test(probability * 0.999), "more than {probability}");
        assert!(test(probability * 1.001), "less than {probability}");
    }

    #[test]
    fn the_gamma_function_is_that_of_factorials() {
        let mut factorial = 0.0;
        for n in 1..200 {
            factorial += f64::from(n).ln();
            let error = ln_gamma(f64::from(n) + 1.0) - factorial;
            assert!(error.abs() < 1e-9, "{n}!: {error}");
        }
    }

    #[test]
    fn the_tests_are_exact() {
        // 12 failures of 40, all among the new 20: C(20, 12) / C(40, 12).
        is(125_970.0 / 5_586_853_480.0, |most| so_many_marked(12, 12, 20, 20, most));
        // 3 or 4 of 4 among the new 5 of 10: (C(5,3) C(5,1) + C(5,4)) / C(10,4).
        is(55.0 / 210.0, |most| so_many_marked(3, 4, 5, 5, most));
        // None of 5 below the least of 5: all of the old come first, 1 / C(10, 5).
        is(1.0 / 252.0, |most| so_few_below(0, 5, 5, 5, most));
        // At most 1 of 3 below the second of 3: of the 20 orders, 1 + 3 · … counted by hand.
        is(orders(3, 3, 2, 1), |most| so_few_below(1, 3, 2, 3, most));
        is(orders(8, 6, 4, 2), |most| so_few_below(2, 8, 4, 6, most));
        assert!(!so_few_below(5, 10, 5, 10, 0.1), "as many as are to be expected");
        assert!(!so_many_marked(0, 0, 10, 10, 0.9));
    }

    /// The share of all orders of `new` and `old` values in which at most `less` of the new
    /// come before the old one of this rank.
    fn orders(new: u32, old: u32, rank: u32, less: u32) -> f64 {
        let all = (0_u32..1 << (new + old)).filter(|order| order.count_ones() == old);
        let few = all.clone().filter(|order| {
            let (mut olds, mut news) = (0, 0);
            for place in 0..new + old {
                match order >> place & 1 {
                    1 => olds += 1,
                    _ => news += 1,
                }
                if olds == rank {
                    break;
                }
            }
            news <= less
        });
        few.count() as f64 / all.count() as f64
    }

    #[test]
    fn deviations_are_those_of_the_normal_distribution() {
        for (probability, expected) in [(0.158_655, 1.0), (0.001_349_9, 3.0), (2.866_5e-7, 5.0)] {
            assert!((deviations(probability) - expected).abs() < 1e-3, "{probability}");
        }
    }

    #[test]
    fn many_are_no_trouble() {
        assert!(so_many_marked(2_000_000, 2_000_100, 1_000_000_000, 1_000_000_000, 1e-6));
        assert!(so_few_below(400_000_000, 1_000_000_000, 500_000_000, 1_000_000_000, 1e-6));
        assert!(!so_few_below(499_999_000, 1_000_000_000, 500_000_000, 1_000_000_000, 1e-6));
    }
}
