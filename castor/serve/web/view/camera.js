/** A picture or a short clip from the camera. */

import { button, make } from './dom.js';
import { whyRefused } from './microphone.js';
import { announce, openDialog } from './overlay.js';

const LONGEST_S = 10;
const CLIPS = ['video/webm;codecs=vp9,opus', 'video/webm', 'video/mp4'];

function frame(video) {
  const canvas = make('canvas');
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext('2d').drawImage(video, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, 'image/jpeg', 0.92));
}

function recorder(stream) {
  const mimeType = CLIPS.find((mime) => MediaRecorder.isTypeSupported(mime));
  const made = new MediaRecorder(stream, { mimeType });
  const pieces = [];
  made.ondataavailable = ({ data }) => pieces.push(data);
  const done = new Promise((resolve) => {
    made.onstop = () => resolve(new Blob(pieces, { type: mimeType.split(';')[0] }));
  });
  made.start();
  return { stop: () => made.state !== 'inactive' && made.stop(), done };
}

/**
 * Opens the camera; resolves to a JPEG, a clip, or null if it was closed.
 * @returns {Promise<Blob | null>}
 */
export function takeWithCamera() {
  return new Promise((resolve) => {
    let stream = null;
    let facing = 'environment';
    const video = make('video', {
      class: 'camera-view',
      muted: true,
      playsinline: true,
      'aria-label': 'What the camera sees',
    });
    const problem = make('p', { class: 'camera-problem', role: 'alert', hidden: true });
    const release = () => stream?.getTracks().forEach((track) => track.stop());
    const start = async () => {
      release();
      try {
        stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: facing } });
        video.srcObject = stream;
        video.muted = true;
        await video.play();
      } catch (error) {
        problem.textContent = whyRefused(error, 'camera');
        problem.hidden = false;
      }
      for (const control of [picture, clip]) control.disabled = !problem.hidden;
    };
    const finish = (blob) => {
      resolve(blob);
      dialog.close();
    };
    const picture = button({
      icon: 'camera',
      text: 'Take picture',
      class: 'primary',
      disabled: true,
      onclick: async () => finish(await frame(video)),
    });
    let running = null;
    const clip = button({
      icon: 'film',
      text: 'Record clip',
      disabled: true,
      onclick: async () => {
        if (running) return running.stop();
        running = recorder(stream);
        clip.querySelector('.button-text').textContent = 'Stop';
        announce('Recording');
        picture.disabled = true;
        setTimeout(running.stop, LONGEST_S * 1000);
        finish(await running.done);
      },
    });
    const turn = button({
      icon: 'flip',
      label: 'Other camera',
      onclick: () => {
        facing = facing === 'user' ? 'environment' : 'user';
        start();
      },
    });
    const closed = () => {
      release();
      resolve(null);
    };
    const body = [
      video,
      problem,
      make('p', { class: 'field-help' }, `Clips are at most ${LONGEST_S} seconds.`),
    ];
    const dialog = openDialog({ title: 'Camera', body, actions: [turn, clip, picture], closed });
    start();
  });
}
