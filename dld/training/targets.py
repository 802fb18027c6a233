"""The frozen static network that a dynamic student learns from."""

import torch

from dld.errors import DldError
from dld.experiment import load_trained, state_hash


class Teacher:
    """A trained network at full depth, in evaluation mode, without gradients.

    It is not a `Module`, so it cannot become a child of what is trained: no optimizer sees it, and `modules.train()`
    cannot give it its dropout back.

    Parameters
    ----------
    folder : str or Path
        A finished experiment.
    tokenizer : Tokenizer
        The student's, which must be the teacher's too.
    device : str
    """

    def __init__(self, folder, tokenizer, device="cpu"):
        trained = load_trained(folder, device)
        if trained.tokenizer.sha256 != tokenizer.sha256:
            raise DldError(
                f"teacher and student have different tokenizers: the student's is not {trained.folder / 'bpe.model'}; "
                "train the teacher again with the present lang_dir, or give the lang_dir that the teacher has"
            )
        self.folder = trained.folder
        self.network = trained.network.requires_grad_(False)
        self.gates = (True,) * self.network.num_blocks
        self.sha256 = trained.about["state_sha256"]
        self.memory = {}

    @torch.no_grad()
    def outputs(self, features, lengths):
        """Return the teacher's outputs for features of its kind, with the number of valid frames.

        Returns
        -------
        logits : Tensor (batch, frames, units)
        hidden : Tensor (batch, frames, width)
            The encoder's output.
        lengths : LongTensor (batch,)
        """
        self.network.eval()
        [logits], lengths, [hidden] = self.network(features, lengths, [self.gates])
        return logits, hidden, lengths

    @torch.no_grad()
    def remember(self, batches, with_hidden=False):
        """Compute the outputs for un-augmented audio once and keep them (half precision, in main memory).

        Augmentations that mask features leave frames where they are, so an utterance's logits can serve every epoch.

        Parameters
        ----------
        batches : iterable of (ids, waveforms (batch, samples), lengths (batch,))
        with_hidden : bool
            Keep the encoder's output, too.
        """
        for ids, waveforms, lengths in batches:
            logits, hidden, frames = self.outputs(*self.network.frontend(waveforms, lengths))
            kept = [logits, hidden] if with_hidden else [logits]
            for name, count, *rows in zip(ids, frames.tolist(), *(t.half().cpu() for t in kept), strict=True):
                self.memory[name] = [row[:count].clone() for row in rows]

    def recall(self, ids, device):
        """Return the kept logits of a batch and, where it was kept, the encoder's output.

        Returns
        -------
        list of Tensor (batch, frames, size)
            Zero on padded frames.
        """
        columns = zip(*(self.memory[name] for name in ids), strict=True)
        pad = torch.nn.utils.rnn.pad_sequence
        return [pad(rows, batch_first=True).float().to(device) for rows in columns]

    def check_front_end(self, frontend):
        """Raise if a student's front end gives other features than the teacher was trained with."""
        if repr(frontend) != repr(self.network.frontend) or state_hash(frontend) != state_hash(self.network.frontend):
            raise DldError(
                f"teacher {self.folder} and student have different front ends, and a student shares its features with "
                "its teacher; give both the same frontend settings"
            )

    def check_unchanged(self):
        """Raise if a weight or buffer is no longer what was loaded."""
        if state_hash(self.network) != self.sha256:
            raise RuntimeError(f"the teacher {self.folder} changed while its student was trained")
