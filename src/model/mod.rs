//! Models: fit(spec, rows, seed) -> fitted; predict. Closed enums, pure computation.
//!
//! It deliberately knows no customer id, no file, no policy, no clock and no global state.

pub mod btyd;

mod blend;
mod boosted;
mod calibrate;
mod error;
mod forest;
mod glm;
mod link;
mod logistic;
mod optimize;
mod score;
mod standardize;
mod treeshap;

pub use blend::{Blend, BlendError};
pub use boosted::{Boosted, BoostedSpec, Objective, TreeShape};
pub use calibrate::{Isotonic, LogitLine};
pub use error::FitError;
pub use forest::{Forest, ForestError, ForestLink};
pub use glm::{TweedieGlm, TweedieGlmSpec};
pub use link::{PROB_MIN, clamp_prob, logit, sigmoid};
pub use logistic::{Logistic, LogisticSpec, LogisticV1, LogisticV1Error};
pub use score::{Clv, Score};
pub use treeshap::{ShapError, TreeShap};
