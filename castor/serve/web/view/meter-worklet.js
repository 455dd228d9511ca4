// Hands what the microphone hears to the page, in blocks of 128 samples.
registerProcessor(
  'castor-meter',
  class extends AudioWorkletProcessor {
    process([[samples]]) {
      if (samples) this.port.postMessage(samples.slice());
      return true;
    }
  },
);
