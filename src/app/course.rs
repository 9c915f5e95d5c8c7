//! Where a run stands in its plan: which stage of how many, and the time that is left of all.

use crate::run::{Plan, Speed};

/// A stage: its name, the seconds it was planned to take, whether it was complete before.
#[derive(Debug, Clone)]
struct Leg {
    name: String,
    planned: f64,
    done: bool,
}

/// The course of a run.
#[derive(Debug, Default)]
pub struct Course {
    legs: Vec<Leg>,
    /// The stage that runs.
    at: Option<usize>,
    /// Seconds that were planned for what this process has finished, and that it took.
    finished: (f64, f64),
}

impl Course {
    /// The course of a plan at a speed.
    pub fn new(plan: &Plan, speed: &Speed) -> Self {
        let leg = |stage: &crate::run::PlannedStage| Leg {
            name: stage.id.name().into(),
            planned: stage.work.seconds(speed),
            done: stage.done,
        };
        Course { legs: plan.stages.iter().map(leg).collect(), ..Course::default() }
    }

    /// A stage begins. Says which it is, as in "stage 3 of 8"; nothing if it was not planned.
    pub fn enter(&mut self, name: &str) -> Option<String> {
        self.at = self.legs.iter().position(|leg| leg.name == name);
        self.at.map(|at| format!("stage {} of {}", at + 1, self.legs.len()))
    }

    /// The stage that runs is over: this process did the `share` of it in `seconds`.
    pub fn leave(&mut self, share: f64, seconds: f64) {
        if let Some(leg) = self.at.take().map(|at| &mut self.legs[at]) {
            self.finished = (self.finished.0 + share * leg.planned, self.finished.1 + seconds);
            leg.done = true;
        }
    }

    /// Seconds that the stages after this one will take, if they keep to the plan as those so far: this process did
    /// the `share` of the running stage in `seconds`.
    pub fn left_after_this(&self, share: f64, seconds: f64) -> Option<f64> {
        let at = self.at?;
        let planned = self.finished.0 + share * self.legs[at].planned;
        let slower = if planned > 0.0 { (self.finished.1 + seconds) / planned } else { 1.0 };
        let later = self.legs[at + 1..].iter().filter(|leg| !leg.done);
        Some(slower * later.map(|leg| leg.planned).sum::<f64>())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::engine::Device;
    use crate::model::ModelConfig;
    use crate::run::{PlannedStage, StageId, Work};

    /// Stages of 10, 20, 30 and 40 planned seconds, the first of them done.
    pub(in crate::app) fn plan() -> Plan {
        let ids = [StageId::Pretrain, StageId::Sft, StageId::RewardModel, StageId::Ppo];
        let stage = |(id, seconds): (StageId, f64)| PlannedStage {
            id,
            done: id == StageId::Pretrain,
            steps: 1,
            tokens: 1,
            at_most: false,
            networks: 1,
            parameters: 1,
            memory: 1,
            work: Work::passes(seconds),
        };
        let stages = ids.into_iter().zip([10.0, 20.0, 30.0, 40.0]).map(stage).collect();
        Plan { stages, model: ModelConfig::gpt2(512, 96, 96, 3, 4), device: Device::Cpu, halved: vec![] }
    }

    #[test]
    fn what_is_left_is_the_plan_scaled_by_what_was_seen() {
        let mut course = Course::new(&plan(), &Speed { passes: 1.0, sampling: 1.0 });
        assert_eq!(course.enter("sft").as_deref(), Some("stage 2 of 4"));
        // A quarter of 20 seconds took 10: twice as long as planned.
        assert_eq!(course.left_after_this(0.25, 10.0), Some(140.0));
        course.leave(1.0, 20.0);
        course.enter("reward_model");
        assert_eq!(course.left_after_this(0.0, 0.0), Some(40.0), "as planned");
        // 10 planned seconds took 25: with those before, 45 seconds for 30.
        assert_eq!(course.left_after_this(1.0 / 3.0, 25.0), Some(60.0));
        course.leave(1.0, 60.0);
        course.enter("ppo");
        assert_eq!(course.left_after_this(0.5, 1.0), Some(0.0));
        assert_eq!(course.enter("wat"), None);
        assert_eq!(course.left_after_this(0.5, 1.0), None);
    }
}
