"""lm-evaluation-harness's model with one saving: what all requests of a task begin with (solved questions, an
instruction) passes through the weights once, and its keys and values are taken for each batch. The harness reads
logits of continuations only, counted from the end, so those of the prefix may be left out."""
import copy

import torch
from lm_eval.models.huggingface import HFLM

LEAST_TOKENS = 32  # of a prefix that is worth it


class SharedPrefixModel(HFLM):
    _prefix, _cache = None, None

    def _model_call(self, inps, attn_mask=None, labels=None):
        common = (inps == inps[:1]).all(dim=0).long().cumprod(dim=0).sum().item()
        common = min(common, inps.shape[1] - 1)  # at least a token is passed
        kept = 0 if self._prefix is None else len(self._prefix)
        if kept > common or not torch.equal(inps[0, :kept], self._prefix if kept else inps[0, :0]):
            kept = 0
        # Options of one question have more in common than those of the next share with it.
        if kept < LEAST_TOKENS:
            previous, self._previous = getattr(self, "_previous", None), inps[0]
            if previous is None:
                return super()._model_call(inps)
            size = min(len(previous), common)
            kept = (previous[:size] == inps[0, :size]).long().cumprod(dim=0).sum().item()
            if kept < LEAST_TOKENS:
                return super()._model_call(inps)
            with torch.no_grad():
                self._prefix = inps[0, :kept].clone()
                self._cache = self.model(inps[:1, :kept], use_cache=True).past_key_values
        past = copy.deepcopy(self._cache)
        past.batch_repeat_interleave(inps.shape[0])
        with torch.no_grad():
            return self.model(inps[:, kept:], past_key_values=past, use_cache=True).logits
