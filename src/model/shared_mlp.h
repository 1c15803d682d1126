#pragma once

#include "backend/operations.h"
#include "checkpoint/model_config.h"

namespace sluice {

Activation activation_of(const ActivationConfig& config);

// gate, up and down of an MLP that every row passes through.
struct SharedMlp {
    Weight gate, up, down;
    Activation activation;
    Tensor gate_bias = {}, up_bias = {}, down_bias = {};

    GatedMlp operation(const Tensor& x, const Tensor& out) const {
        return {.x = x,
                .groups = {{.gate = gate,
                            .up = up,
                            .down = down,
                            .gate_bias = gate_bias,
                            .up_bias = up_bias,
                            .down_bias = down_bias}},
                .out = out,
                .activation = activation};
    }
};

}  // namespace sluice
