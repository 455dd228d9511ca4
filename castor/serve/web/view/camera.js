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

/** What the camera sees, and what is wrong where it sees nothing. */
function createView() {
  const video = make('video', {
    class: 'camera-view',
    muted: true,
    playsinline: true,
    'aria-label': 'What the camera sees',
  });
  const problem = make('p', { class: 'camera-problem', role: 'alert', hidden: true });
  let facing = 'environment';
  let over = false; // a camera that comes after that is let go at once
  const release = () => video.srcObject?.getTracks().forEach((track) => track.stop());
  const end = () => {
    over = true;
    release();
  };
  /** Looks through the camera, or the other one; true where there is something to see. */
  const look = async ({ other = false } = {}) => {
    release();
    if (other) facing = facing === 'user' ? 'environment' : 'user';
    try {
      const wanted = { video: { facingMode: facing } };
      video.srcObject = await navigator.mediaDevices.getUserMedia(wanted);
      if (over) release();
      else await video.play();
    } catch (error) {
      problem.textContent = whyRefused(error, 'camera');
      problem.hidden = false;
    }
    return problem.hidden;
  };
  return { video, problem, look, end };
}

/**
 * Opens the camera; resolves to a JPEG, a clip, or null if it was closed.
 * @returns {Promise<Blob | null>}
 */
export function takeWithCamera() {
  return new Promise((resolve) => {
    const { video, problem, look, end } = createView();
    const start = async (how) => {
      const sees = await look(how);
      for (const control of [picture, clip]) control.disabled = !sees;
    };
    const finish = (blob) => {
      resolve(blob);
      dialog.close();
    };
    let running = null;
    const record = async () => {
      if (running) return running.stop();
      running = recorder(video.srcObject);
      clip.querySelector('.button-text').textContent = 'Stop';
      announce('Recording');
      picture.disabled = turn.disabled = true;
      setTimeout(running.stop, LONGEST_S * 1000);
      finish(await running.done);
    };
    const take = async () => finish(await frame(video));
    const picture = button({ icon: 'camera', text: 'Take picture', class: 'primary' });
    const clip = button({ icon: 'film', text: 'Record clip' });
    picture.disabled = clip.disabled = true; // until there is something to see
    picture.addEventListener('click', take);
    clip.addEventListener('click', record);
    const other = () => start({ other: true });
    const turn = button({ icon: 'flip', label: 'Other camera', onclick: other });
    const closed = () => {
      end();
      resolve(null);
    };
    const help = make('p', { class: 'field-help' }, `Clips are at most ${LONGEST_S} seconds.`);
    const body = [video, problem, help];
    const dialog = openDialog({ title: 'Camera', body, actions: [turn, clip, picture], closed });
    start();
  });
}
